"""Every availability bar of `bars.py` is kept, in one installation that lives through all of the changes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bars import BARS, IN_FLIGHT, OPEN, Bar, broken, counted, environment, line, measure
from .changes import Outage
from .installation import Installation, installation
from .prober import Probe

OUTAGE = Outage(killed=10.0, gone=10.1, back=12.0)
TYPED = {"error": "the replica closed the connection", "state": "running", "retry_after": 1.0}


@pytest.fixture(scope="module")
def inlet() -> Iterator[Installation]:
    with (
        tempfile.TemporaryDirectory(prefix="inlet-") as folder,
        installation(Path(folder) / "home", env=environment(Path(folder))) as started,
    ):
        yield started


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_a_bar_is_kept(
    bar: Bar, inlet: Installation, sample_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = measure(bar, inlet, sample_model)
    with capsys.disabled():
        print(f"\n  {line(bar, measured)}")
    assert broken(bar, measured) == []


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (Probe(9.9, 9.9, 0.3, 502, TYPED), True),
        (Probe(9.9, 9.9, 0.3, 502, {"error": "no state"}), False),
        (Probe(9.9, 9.9, 0.3, "ReadError"), False),
        (Probe(9.5, 9.5, 0.3, 502, TYPED), False),  # answered before the kill
        (Probe(9.5, 10.2, 1.0, 502, TYPED), False),  # due before it, but sent when the replica was gone
    ],
)
def test_only_typed_failures_of_what_was_in_flight_are_excused(failed: Probe, kept: bool) -> None:
    bar = Bar("it", lambda _: None, 0.5, IN_FLIGHT)
    assert (broken(bar, counted(bar, [failed, Probe(1.0, 1.0, 0.1, 200)], OUTAGE)) == []) is kept


def test_too_few_successes_break_a_bar_however_they_are_excused() -> None:
    lost = Probe(9.9, 9.9, 0.3, "ReadError")
    answered = [Probe(1.0, 1.0, 0.1, 200)] * 999
    for failures, kept in (([lost], True), ([lost, lost], False)):
        bar = Bar("it", lambda _: None, 0.999, OPEN)
        assert (broken(bar, counted(bar, [*answered, *failures], OUTAGE)) == []) is kept
