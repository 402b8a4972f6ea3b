"""Which installation this is, and what of another can be reached."""

from __future__ import annotations

import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.control.identity import own_id, own_place, within_reach
from inlet.settings import Settings


def test_a_home_keeps_its_id_and_a_copy_gets_another(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    id_ = own_id(home)
    assert own_id(home) == id_
    assert stat.S_IMODE((home / "control.id").stat().st_mode) == 0o600
    shutil.copytree(home, copy)
    assert own_id(copy) != id_
    assert own_id(home) == id_
    (home / "control.id").write_text("spoilt")
    assert own_id(home) != "spoilt"


def test_a_home_keeps_its_id_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in many containers."""
    monkeypatch.setattr("inlet.control.identity._MACHINE", tmp_path / "missing")
    id_ = own_id(tmp_path)
    assert own_id(tmp_path) == id_
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert own_id(tmp_path) != id_, "at the same path of another container"


def test_what_is_within_reach(tmp_path: Path) -> None:
    id_ = own_id(tmp_path)
    place = own_place(tmp_path)
    assert within_reach(place, id_)
    assert not within_reach(place, "another"), "somebody else's home at the same path"
    assert not within_reach(replace(place, boot="another machine"), id_), "a shared folder"
    assert not within_reach(replace(place, marker=str(tmp_path / "elsewhere")), id_), "a container"
    assert not within_reach(replace(place, marker=str(tmp_path)), id_)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "http://127.0.0.1:80"), ("10.0.0.5", "http://10.0.0.5:80")]
)
def test_the_address_of_one_of_several_is_its_own(host: str, expected: str) -> None:
    assert Settings(host=host, port=80, public_url="https://ml.example.com").own_url == expected


def test_the_address_of_one_that_listens_everywhere_is_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node-1")
    assert Settings(host="0.0.0.0", port=80).own_url == "http://node-1:80"
