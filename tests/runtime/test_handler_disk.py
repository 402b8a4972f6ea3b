"""How much of the disk a handler may fill."""

from __future__ import annotations

from pathlib import Path

import pytest

from inlet.runtime.handler import disk
from inlet.runtime.handler.disk import Folders

A_DISK = 1 << 60  # more than any has


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    paths = [tmp_path / "home", tmp_path / "tmp"]
    for path in paths:
        path.mkdir()
    return Folders(paths)


def test_one_that_holds_much_must_go_only_when_the_disk_has_no_room(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "MOST_HELD", 1_000_000)
    home, tmp = folders.paths
    (home / "folder").mkdir()
    (home / "folder" / "file").write_bytes(b"x" * 600_000)
    with (tmp / "holes").open("wb") as file:
        file.truncate(10_000_000)
    monkeypatch.setattr(disk, "LEAST_FREE", A_DISK)
    assert folders.reason() is None
    (tmp / "file").write_bytes(b"x" * 600_000)
    assert "had written more than 0.001 GB to its home and /tmp" in str(folders.reason())
    monkeypatch.setattr(disk, "LEAST_FREE", 0)
    assert folders.reason() is None


def test_what_is_emptied_is_empty_and_nothing_else_is(folders: Folders, tmp_path: Path) -> None:
    home, tmp = folders.paths
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").touch()
    (home / "link").symlink_to(outside)
    (home / "a" / "b").mkdir(parents=True)
    (home / "a" / "b" / "file").touch()
    (home / "a" / "b").chmod(0)
    (home / "a").chmod(0)
    home.chmod(0)
    (tmp / "file").touch()
    folders.clear()
    assert [list(path.iterdir()) for path in folders.paths] == [[], []]
    assert (outside / "kept").exists()
    assert outside.stat().st_mode & 0o777 == 0o755
