"""Asking the Hub about a model while the Hub has trouble: worth another try, soon told, and in nobody's way."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.control import lookup
from inlet.control.lookup import look_up
from inlet.core.errors import Refused, Unavailable
from inlet.core.spec import Image, Model
from inlet.sample import sample_folder
from tests.standins.hub import StandinHub, Trouble

NAME = "acme/mini"
MODEL = Model(NAME, "pytorch", Image("huggingface"), task="feature-extraction")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    (tmp_path / NAME).mkdir(parents=True)
    model = sample_folder()
    assert model is not None, "make test installs the sample model"
    shutil.copy(model / "config.json", tmp_path / NAME)
    monkeypatch.setattr(lookup, "HUB_TIMEOUT_S", 60.0)
    with StandinHub(tmp_path) as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", running.url)
        yield running


async def test_a_configuration_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(Refused, match=r"config\.json is not JSON"):
        await look_up(replace(MODEL, repository=str(tmp_path)), token=None)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble(status=500), "the Hub answered 500"),
        (Trouble(status=429, headers={"Retry-After": "3600"}), "the Hub answered 429"),
        (Trouble(stalls_after=0), "the Hub could not be asked about"),
        (Trouble(stalls_after=20), "the Hub could not be asked about"),
    ],
)
async def test_trouble_is_worth_another_try(
    hub: StandinHub, trouble: Trouble, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.trouble = trouble
    with monkeypatch.context() as patch:
        if trouble.stalls_after is not None:  # an answer may take longer
            patch.setattr(lookup, "HUB_TIMEOUT_S", 0.5)
        with pytest.raises(Unavailable, match=words):
            await look_up(MODEL, token=None)
    hub.trouble = None
    assert (await look_up(MODEL, token=None)).commit == hub.commit(NAME)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
async def test_a_hub_that_cannot_be_reached_is_worth_another_try(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
    with pytest.raises(Unavailable, match="could not be asked"):
        await look_up(MODEL, token=None)


async def test_lookups_that_hang_hold_up_no_other_work_and_are_given_up(
    hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "HUB_TIMEOUT_S", 600.0)
    monkeypatch.setattr(lookup, "HUB_IN_ALL_S", 3.0)
    hub.trouble = Trouble(stalls_after=0)
    async with asyncio.timeout(60):
        stuck = [asyncio.create_task(look_up(MODEL, token=None)) for _ in range(50)]
        while len(hub.requests) < 50:
            await asyncio.to_thread(len, hub.requests)  # what the shared threads are there for
        for given_up in await asyncio.gather(*stuck, return_exceptions=True):
            assert isinstance(given_up, Unavailable)
            assert "did not finish its answer" in str(given_up)
