"""The figures of a load run as `inlet bench` shows them: tables, one line, JSON.

Called by `bench.py` and `sizes.py`; what the figures are is decided in `inlet.bench.summary`.
"""

from __future__ import annotations

from typing import Any

from inlet.bench.load import Load
from inlet.bench.plot import histogram
from inlet.bench.summary import Summary, enough_for
from inlet.bench.target import Target
from inlet.cli import output

_BAR_COLUMNS = 40


def settings(target: Target, load: Load, warm_up: int) -> dict[str, Any]:
    """How it was measured, as JSON."""
    return {
        "requests": load.requests,
        "loop": "closed" if load.rate is None else "open",
        "connections": load.connections,
        "rate": load.rate,
        "keepAlive": target.keep_alive,
        "warmUp": warm_up,
        "timeoutSeconds": load.timeout,
    }


def title(target: Target, load: Load, address: str) -> str:
    """How it was measured, in one line."""
    how = (
        f"{load.connections} at a time"
        if load.rate is None
        else f"{load.rate:g} a second at random times, {load.connections} connections at most"
    )
    kept = "" if target.keep_alive else ", a connection for each"
    verb = target.requests[0].partition(b" ")[0].decode()
    return f"{load.requests} × {verb} {address}, {how}{kept}"


def show(summary: Summary, heading: str) -> None:
    """A run as tables and a histogram, with what must be said about it."""
    late = "" if summary.lag is None else f", {summary.lag * 1000:.1f} ms late (99th percentile)"
    output.say(heading, "dim")
    output.facts(
        {
            "Requests/s": f"{summary.per_second:.1f}",
            "Answered": f"{summary.succeeded} in {summary.elapsed:.2f} s",
            "Failed": summary.failed,
            "Bytes": f"{summary.sent:,} sent, {summary.received:,} received",
            "Generator": f"{summary.cpu_share:.0%} of a core{late}",
        }
    )
    out = output.console()
    if summary.failures:
        out.print()
        output.table(
            ("FAILURE", "REQUESTS", "THE FIRST ONE SAID"),
            (
                (kind, count, " ".join(summary.answers.get(kind, "").split())[:200])
                for kind, count in summary.failures.items()
            ),
            empty="",
        )
    if summary.latencies:
        out.print()
        output.table(
            ("LATENCY", "MS", "95 % CONFIDENCE"),
            (
                *(
                    (f"p{found.percent}", f"{found.value * 1000:.2f}", doubts(summary, found.percent) or _range(found.low, found.high))
                    for found in summary.percentiles
                ),
                ("max", f"{summary.latencies[-1] * 1000:.2f}", ""),
            ),
            empty="",
        )  # fmt: skip
        out.print()
        for line in histogram(summary.latencies, _BAR_COLUMNS):
            out.print(line)
    if summary.failures and summary.latencies:
        output.say("The latencies are those of the answered requests alone.", "yellow")
    if summary.crowded:
        output.say(
            f"{summary.crowded} requests waited for a connection, all being taken: their latency holds that; "
            "--concurrency allows more.",
            "yellow",
        )


def _range(low: float | None, high: float | None) -> str:
    return f"{'…' if low is None else f'{low * 1000:.2f}'} to {'…' if high is None else f'{high * 1000:.2f}'}"


def doubts(summary: Summary, percent: int) -> str | None:
    """What must be said beside a percentile that the sample does not bound from above; None if it does."""
    found = summary.at(percent)
    if found is None or found.high is not None:
        return None
    return f"not certain: it takes {enough_for(percent)} requests, and {summary.succeeded} were answered"


def report(summary: Summary) -> dict[str, Any]:
    """A run as JSON; times in milliseconds."""

    def ms(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds * 1000, 3)

    latencies = summary.latencies
    return {
        "valid": not summary.flaws,
        "flaws": list(summary.flaws),
        "elapsedSeconds": round(summary.elapsed, 3),
        "requestsPerSecond": round(summary.per_second, 2),
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "failures": dict(summary.failures),
        "bytesSent": summary.sent,
        "bytesReceived": summary.received,
        "latencyMs": None
        if not latencies
        else {
            "mean": ms(sum(latencies) / len(latencies)),
            "max": ms(latencies[-1]),
            "percentiles": [
                {
                    "percentile": found.percent,
                    "value": ms(found.value),
                    "low": ms(found.low),
                    "high": ms(found.high),
                }
                for found in summary.percentiles
            ],
        },
        "generator": {"cpuShare": round(summary.cpu_share, 3), "lateMsP99": ms(summary.lag)},
    }
