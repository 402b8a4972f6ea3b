"""`python -m benchmarks`: measure Inlet, other servers and the bare engine on this machine, and write the report."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import plot, report
from benchmarks.machine import conditions
from benchmarks.plan import QUICK, Plan
from benchmarks.rounds import run
from benchmarks.scenarios import ALONE, SIDE_BY_SIDE
from benchmarks.systems.registry import ENGINES, SYSTEMS

SCENARIOS = (*SIDE_BY_SIDE, *ALONE)
RESULTS = Path(__file__).with_name("results")
_ROUNDS = 3


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped as on Ctrl-C
    flags = _flags()
    if flags.report:
        _write_report(flags.report)
        return
    plan = QUICK if flags.quick else Plan(systems=(*SYSTEMS, *ENGINES), scenarios=SCENARIOS, rounds=_ROUNDS)
    chosen = {
        name: getattr(flags, name) for name in ("systems", "scenarios", "rounds") if getattr(flags, name)
    }
    path = flags.output or _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    run(replace(plan, **chosen), path, say)
    say(f"written: {', '.join(str(written) for written in _write_report(path))}")


def _write_report(path: Path) -> list[Path]:
    """The Markdown and the picture beside a result's JSON."""
    result = json.loads(path.read_bytes())
    markdown, picture = path.with_suffix(".md"), path.with_suffix(".svg")
    markdown.write_text(report.markdown(result, picture.name))
    picture.write_text(plot.picture(result))
    return [path, markdown, picture]


def _path() -> Path:
    cpu = re.sub(r"[^a-z0-9]+", "-", str(conditions()["cpu"]).lower()).strip("-")
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{cpu}.json"


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure on this machine; see benchmarks/README.md. Environments are made when needed.",
    )
    parser.add_argument("--quick", action="store_true", help="the headline only, in some ten minutes")
    parser.add_argument(
        "--systems",
        nargs="+",
        metavar="NAME",
        choices=[*SYSTEMS, *ENGINES],
        help=", ".join([*SYSTEMS, *ENGINES]),
    )
    parser.add_argument(
        "--scenarios", nargs="+", metavar="NAME", choices=SCENARIOS, help=", ".join(SCENARIOS)
    )
    parser.add_argument("--rounds", type=int, help=f"default {QUICK.rounds} with --quick, else {_ROUNDS}")
    parser.add_argument(
        "--output", type=Path, help="the JSON's file; default benchmarks/results/DATE-CPU.json"
    )
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="only write the report of that result again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
