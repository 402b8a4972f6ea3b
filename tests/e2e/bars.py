"""The availability bars: what callers may notice of each change. One table, from which tests and README are made.

`BARS` says for each change how many requests must succeed, at which constant rate they come, and what else may fail and
how. `measure` makes one change for real, under that load, in a running installation; `broken` says what was not kept.
`test_bars.py` does both for every bar. As a program this stores the counts, which `docs/build.py` draws in README.md:

    python -m tests.e2e.bars [--runs 3] [--store docs/figures/bars.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inlet.sample import sample_folder
from tests.machine import described

from . import changes
from .changes import QUICK, SLOW, Outage, Stage
from .installation import TOKEN, Installation, installation, wait_for
from .prober import Probe, Prober

FIGURES = Path(__file__).parents[2] / "docs" / "figures" / "bars.json"
BEFORE = 50  # requests that are answered before the change begins
CONNECTION_ERRORS = {"ConnectError", "ReadError", "WriteError", "RemoteProtocolError"}


@dataclass(frozen=True)
class Allowance:
    """Failures that a bar excuses: `words` for the table, `covers` for one failed request."""

    words: str
    covers: Callable[[Probe, Outage], bool]


def _typed(probe: Probe) -> bool:
    return probe.result in (502, 503) and probe.error.keys() >= {"error", "state", "retry_after"}


NOTHING = Allowance("nothing", lambda *_: False)
IN_FLIGHT = Allowance(
    "requests in flight on it: 502 or 503, with a typed error", lambda p, outage: outage.met(p) and _typed(p)
)
OPEN = Allowance(
    "requests in flight: connection lost", lambda p, outage: outage.met(p) and p.result in CONNECTION_ERRORS
)
AWAY = Allowance(
    "requests until it listens again: connection refused or lost",
    lambda p, outage: p.sent <= outage.back and outage.killed <= p.ended and p.result in CONNECTION_ERRORS,
)


@dataclass(frozen=True)
class Bar:
    """One change and what is demanded of the requests around it.

    `share`: of all requests, how many must be answered 200; None when only what `may_fail` says is demanded. `rate`:
    requests a second, of `bodies` in turn, to an endpoint of `replicas`; `requests`: how many there are at least.
    `prepare` comes before the first of them.
    """

    name: str
    change: Callable[[Stage], Outage | None]
    share: float | None = 1.0
    may_fail: Allowance = NOTHING
    replicas: int = 1
    rate: float = 25.0
    requests: int = 200
    bodies: Sequence[Mapping[str, Any]] = (QUICK,)
    prepare: Callable[[Stage], None] | None = None


BUSY = (*[QUICK] * 19, SLOW)
BARS = (
    Bar("SIGTERM of a replica", changes.terminate_a_replica),
    Bar("SIGKILL of the only replica, idle", changes.kill_an_idle_replica, rate=15),
    Bar("SIGKILL of one of two replicas, idle", changes.kill_an_idle_replica, replicas=2, rate=15),
    Bar("SIGKILL of one of two replicas, busy", changes.kill_a_busy_replica, 0.999, IN_FLIGHT,
        replicas=2, rate=20, requests=1000, bodies=BUSY),
    Bar("rolling update", changes.update),
    Bar("update that cannot start", changes.update_in_vain),
    Bar("1 → 3 → 1 replicas", changes.scale_up_and_down),
    Bar("0 → 1 replicas", changes.wake, prepare=changes.put_to_sleep),
    Bar("another endpoint paused, resumed, deleted", changes.pause_a_neighbour),
    Bar("SIGTERM of control", changes.terminate_control),
    Bar("SIGKILL of control", changes.kill_control),
    Bar("SIGKILL of the router", changes.kill_router, None, OPEN),
    Bar("SIGKILL of `inlet up`, started again", changes.kill_parent, None, AWAY, rate=20),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What one change under load did to its callers; seconds.

    `failed` by status or error; `excused` of these are covered by the bar's allowance. `in_flight` were at the moment of a
    kill, wherever they were sent to.
    """

    sent: int
    failed: Mapping[str, int]
    excused: int
    in_flight: int | None
    slowest: float
    back: float | None

    @property
    def succeeded(self) -> int:
        return self.sent - sum(self.failed.values())


def measure(bar: Bar, inlet: Installation, model: Path) -> Measured:
    """Make the change in an endpoint of its own, which is gone afterwards."""
    name = "probed"
    inlet.create(
        name, str(model), model__task="sentence-similarity",
        compute__scaling__minReplica=bar.replicas, compute__scaling__maxReplica=bar.replicas,
    )  # fmt: skip
    prober = Prober(f"{inlet.url}/default/{name}", TOKEN, *bar.bodies, rate=bar.rate)
    stage = Stage(inlet, name, prober, model)
    try:
        stage.wait_for_replicas(bar.replicas)
        if bar.prepare is not None:
            bar.prepare(stage)
        with prober:
            if bar.prepare is None:
                prober.wait_for(BEFORE)
            outage = bar.change(stage)
            prober.wait_for(BEFORE)
            wait_for("enough requests", lambda: len(prober.probes) >= bar.requests, within=240)
    finally:
        inlet.delete(name)
    return counted(bar, prober.probes, outage)


def counted(bar: Bar, probes: Sequence[Probe], outage: Outage | None) -> Measured:
    """What these requests met."""
    failed = [p for p in probes if p.result != 200]
    return Measured(
        sent=len(probes),
        failed=dict(Counter(str(p.result) for p in failed)),
        excused=sum(outage is not None and bar.may_fail.covers(p, outage) for p in failed),
        in_flight=outage and sum(p.sent <= outage.killed < p.ended for p in probes),
        slowest=max(p.took for p in probes if p.result == 200),
        back=outage and outage.back - outage.killed,
    )


def broken(bar: Bar, measured: Measured) -> list[str]:
    """What of the bar was not kept, in words; empty when all was."""
    found = []
    failed = sum(measured.failed.values())
    if failed > measured.excused:
        found.append(f"{failed - measured.excused} failed that may not: only {bar.may_fail.words} may")
    if bar.share is not None and measured.succeeded < bar.share * measured.sent:
        found.append(f"{measured.succeeded} of {measured.sent} succeeded, less than {bar.share:.2%}")
    return [f"{bar.name}: {what} {dict(measured.failed)}" for what in found]


def line(bar: Bar, measured: Measured) -> str:
    """One line for whoever watches."""
    text = f"{bar.name}: {measured.succeeded} of {measured.sent}"
    if measured.failed:
        text += f", {dict(measured.failed)}"
    text += f"; slowest {measured.slowest:.2f} s"
    if measured.back is not None:
        text += f"; {measured.in_flight} in flight then, back after {measured.back:.2f} s"
    return text


def run() -> dict[str, Measured]:
    """Every bar once, in one installation; ends the program when one of them is not kept."""
    model = sample_folder()
    if model is None:
        raise SystemExit("the sample model is not installed: run `make test` first")
    results = {}
    with (
        tempfile.TemporaryDirectory(prefix="inlet-") as folder,
        installation(Path(folder) / "home", env=environment(Path(folder))) as inlet,
    ):
        for bar in BARS:
            results[bar.name] = measure(bar, inlet, model)
            print(line(bar, results[bar.name]), flush=True)
    if wrong := [what for bar in BARS for what in broken(bar, results[bar.name])]:
        raise SystemExit("\n".join(["not kept, so nothing is stored:", *wrong]))
    return results


def environment(folder: Path) -> dict[str, str]:
    """Of the installation whose home is `folder`/home: `changes.update_in_vain` puts a model beside it."""
    return {"INLET_MODELS": str(folder / "models")}


def demanded(bar: Bar) -> dict[str, Any]:
    """What is demanded, as it is stored beside the counts."""
    return {"name": bar.name, "share": bar.share, "may_fail": bar.may_fail.words, "rate": bar.rate}


def stored(runs: Sequence[Mapping[str, Measured]], where: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of some runs: where and when, the bars as they were then, and the counts."""
    bars = [{**demanded(bar), "runs": [asdict(results[bar.name]) for results in runs]} for bar in BARS]
    return {**where, "bars": bars}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--store", type=Path, default=FIGURES)
    flags = parser.parse_args()
    where = described()  # before our own load
    figures = stored([run() for _ in range(flags.runs)], where)
    flags.store.parent.mkdir(parents=True, exist_ok=True)
    flags.store.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
