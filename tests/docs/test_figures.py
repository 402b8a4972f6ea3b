"""The availability table of README.md: every bar is in it, with counts of a stored run that kept it.

That the table is what `docs/build.py` draws from the stored file is checked with the other generated parts.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from tests.e2e.bars import BARS, FIGURES, Measured, broken, demanded

from . import pages


def stored() -> dict[str, Any]:
    return dict(json.loads(FIGURES.read_text()))


def test_every_bar_is_stored_as_it_is_demanded_now() -> None:
    kept = {bar["name"]: {k: v for k, v in bar.items() if k != "runs"} for bar in stored()["bars"]}
    assert kept == {bar.name: demanded(bar) for bar in BARS}, "the bars changed: run `make bars`"


def test_the_stored_runs_kept_every_bar() -> None:
    runs = {bar["name"]: bar["runs"] for bar in stored()["bars"]}
    for bar in BARS:
        assert runs[bar.name]
        for run in runs[bar.name]:
            assert run["sent"] >= bar.requests
            assert broken(bar, Measured(**run)) == []


def test_the_table_says_where_and_when() -> None:
    text = (pages.ROOT / "README.md").read_text()
    table = text.split("<!-- bars: generated")[1].split("<!-- end of bars -->")[0]
    figures = stored()
    assert date.fromisoformat(figures["date"]) <= date.today()  # noqa: DTZ011 - the machine's own day
    for said in (figures["date"], figures["cpu"], f"{figures['cores']} cores"):
        assert str(said) in table
    for bar in BARS:
        (row,) = (line for line in table.splitlines() if line.startswith(f"| {bar.name} |"))
        assert bar.share is None or f"{bar.share:.2%}" in row
        assert bar.may_fail.words in row
