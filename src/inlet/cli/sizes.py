"""What `inlet bench MODEL --sizes` shows: the sizes beside each other, with prices, and the cheapest that is fast enough.

Called by `bench.py`; the measuring is `trials.py`'s, the arithmetic `core/pricing.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import typer

from inlet.backends.local.limits import machine
from inlet.cli import output
from inlet.cli.figures import doubts, report
from inlet.cli.trials import Trial, Wanted, try_all
from inlet.client import Client
from inlet.core.catalogue import HOURS_PER_MONTH
from inlet.core.pricing import FARGATE_SOURCE, MANAGED_SOURCE, monthly, per_million

_GIB = 2**30
_HOURS = Decimal(HOURS_PER_MONTH)


def compare_sizes(
    url: str, token: str, namespace: str | None, wanted: Wanted, output_: output.Output
) -> None:
    """Try the sizes and show what came of it. Ends with `typer.Exit` 1 if a run is not valid, or if nothing was measured."""
    with Client(url, token, namespace=namespace) as client:
        trials = try_all(client, url, token, wanted)
    _show(trials, wanted, output_, here=urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"))


def _show(trials: Sequence[Trial], wanted: Wanted, output_: output.Output, *, here: bool) -> None:
    best = None if wanted.p99 is None else _cheapest(trials, wanted.p99)
    if output_ is output.Output.JSON:
        output.json(
            {
                "model": wanted.model,
                "concurrency": wanted.concurrency,
                "hoursPerMonth": HOURS_PER_MONTH,
                "sizes": [_json(trial, here=here) for trial in trials],
                "p99Ms": None if wanted.p99 is None else wanted.p99 * 1000,
                "cheapest": None if best is None else best.size,
            }
        )
    else:
        _table(trials, wanted, here=here)
        if wanted.p99 is not None:
            _say_cheapest(best, wanted.p99)
    flaws = {flaw for trial in trials for run in (trial.alone, trial.together) if run for flaw in run.flaws}
    for flaw in sorted(flaws):
        output.say(f"Invalid: {flaw}.", "red")
    if flaws or all(trial.because is not None for trial in trials):
        raise typer.Exit(1)


def _table(trials: Sequence[Trial], wanted: Wanted, *, here: bool) -> None:
    output.table(
        ("SIZE", "VCPU", "MEMORY", "P50 MS", "P99 MS", f"REQ/S (C={wanted.concurrency})",
         "$/MONTH", "$/1M", "FARGATE $/MONTH", "FARGATE $/1M", "FIT HERE"),
        (_cells(trial, here=here) for trial in trials),
        empty="No sizes were given.",
    )  # fmt: skip
    for trial in trials:
        if trial.because is not None:
            output.say(f"{trial.size} was not measured: {trial.because}", "yellow")
            continue
        for run in (trial.alone, trial.together):
            if run is not None and run.failed:
                output.say(
                    f"{trial.size}: {run.failed} requests failed ({', '.join(run.failures)})", "yellow"
                )
        doubt = trial.alone and doubts(trial.alone, 99)
        if doubt:
            output.say(f"{trial.size}: its p99 is {doubt}", "yellow")
    output.say(
        f"\nP50 and P99 one request at a time. A month has {HOURS_PER_MONTH} hours; a million requests cost what the time "
        f"costs in which they are answered at that rate.\n$: {MANAGED_SOURCE}.\nFargate: {FARGATE_SOURCE}.",
        "dim",
    )


def _cells(trial: Trial, *, here: bool) -> tuple[object, ...]:
    row, fits = trial.row, _fits(trial.row) if here else None
    p50 = p99 = rate = million = fargate_million = "–"
    if trial.alone is not None and trial.together is not None:
        p50, p99 = (
            "–" if found is None else f"{found.value * 1000:.1f}"
            for found in (trial.alone.at(50), trial.alone.at(99))
        )
        if trial.together.succeeded:
            rate = f"{trial.together.per_second:.1f}"
            million = f"{per_million(trial.list_price, trial.together.per_second)}"
            fargate_million = f"{per_million(trial.fargate_price, trial.together.per_second)}"
    return (
        trial.size,
        f"{row['numCpus']:g}",
        f"{row['memoryGb']:g} GB",
        p50,
        p99,
        rate,
        monthly(trial.list_price, _HOURS),
        million,
        monthly(trial.fargate_price, _HOURS),
        fargate_million,
        "?" if fits is None else f"{min(fits.values())} ({min(fits, key=fits.__getitem__)})",
    )


def _json(trial: Trial, *, here: bool) -> dict[str, Any]:
    rate = None if trial.together is None or not trial.together.succeeded else trial.together.per_second
    return {
        "size": trial.size,
        "instance": trial.row["id"],
        "notMeasured": trial.because,
        "alone": None if trial.alone is None else report(trial.alone),
        "together": None if trial.together is None else report(trial.together),
        "listPerMonth": float(monthly(trial.list_price, _HOURS)),
        "listPerMillion": None if rate is None else float(per_million(trial.list_price, rate)),
        "fargatePerMonth": float(monthly(trial.fargate_price, _HOURS)),
        "fargatePerMillion": None if rate is None else float(per_million(trial.fargate_price, rate)),
        "fitHere": _fits(trial.row) if here else None,
    }


def _fits(row: dict[str, Any]) -> dict[str, int]:
    """How many of this instance the machine holds whole, by CPU and by memory. True only where the server runs."""
    there = machine()
    return {
        "cpu": int(there.vcpus // row["numCpus"]),
        "memory": int(there.memory // (row["memoryGb"] * _GIB)),
    }


def _cheapest(trials: Sequence[Trial], p99: float) -> Trial | None:
    return min(
        (trial for trial in trials if trial.meets(p99)), key=lambda trial: trial.list_price, default=None
    )


def _say_cheapest(best: Trial | None, p99: float) -> None:
    bar = f"99 % within {p99 * 1000:g} ms"
    if best is None:
        output.say(f"No size that was measured answers {bar}.", "yellow")
    else:
        output.say(
            f"The cheapest that answers {bar} is {best.size}: ${monthly(best.list_price, _HOURS)} a month.",
            "green",
        )
