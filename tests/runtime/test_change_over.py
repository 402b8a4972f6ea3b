"""What a replica does, and says, when the choice that is to stay cannot take over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inlet.runtime.choice import Choice
from inlet.runtime.loader import Loaded, load
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options, parse
from inlet.runtime.replica import Replica
from inlet.runtime.starting import _improve, _warm
from tests.reference import Reference


def changed_over(
    made: Reference, tmp_path: Path, better: Callable[[Loaded], Choice], pauses: tuple[float, ...]
) -> dict[str, Any]:
    """What `/info` says after a replica that serves tried to take over `better`, again after each of the pauses."""
    flags = ["--model", str(made.model("topics")), "--task", "text-classification", "--port", "0"]
    options: Options = replace(parse(flags, {}), artifacts=tmp_path)
    loaded = load(replace(options, artifacts=None), lambda *_: None)
    loaded = replace(loaded, choice=replace(loaded.choice, better=lambda _: better(loaded)))

    async def live() -> dict[str, Any]:
        replica, metrics = Replica(), Metrics()
        replica.become_ready(await _warm(loaded, options, metrics))
        await _improve(options, replica, metrics, pauses)
        assert replica.served is not None
        found = dict(replica.served.describe(options))
        replica.served.replace()
        return found

    return asyncio.run(live())


def test_until_it_can_the_replica_says_that_nothing_was_checked_and_why(
    made: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: Loaded) -> Choice:
        raise RuntimeError(f"cannot map {tmp_path}/graph.bin")

    with caplog.at_level(logging.ERROR):
        info = changed_over(made, tmp_path, fails, (0.0,))
    assert info["precision"] == "fp32"
    assert info["reason"] == (
        "fp32, not checked, since the choice could not take over (RuntimeError: cannot map …/graph.bin); the next start tries again"
    )
    assert info["settled"]
    first, last = (record.getMessage() for record in caplog.records)
    assert "fp32 goes on, not checked; tried again in 0 s" in first
    assert "fp32 goes on, not checked; the next start tries again" in last


def test_it_is_tried_again(made: Reference, tmp_path: Path) -> None:
    tries: list[int] = []

    def fails_once(loaded: Loaded) -> Choice:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("for a moment")
        return Choice(loaded.choice.engine, "as it was checked")

    info = changed_over(made, tmp_path, fails_once, (0.0, 0.0))
    assert (info["reason"], info["settled"], len(tries)) == ("as it was checked", True, 2)
