"""What the router counts, and the page that Prometheus reads.

`Stats` is bumped by `forward.py` on every request, so it is plain integers; labels are made only when the page is
asked for. Endpoints that the reader may not see are left out of the page.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Stats:
    """Answers of one endpoint, by status, and how long they took, from head to last byte."""

    __slots__ = ("buckets", "codes", "repeated", "seconds")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.seconds = 0.0
        self.repeated = 0

    def note(self, status: int, seconds: float) -> None:
        """One request ended; 499 when its client went away first."""
        self.codes[status] = self.codes.get(status, 0) + 1
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds += seconds


class EndpointLoad(Protocol):
    """The part of `gate.Load` that is shown."""

    namespace: str
    name: str
    in_flight: int
    waiting: int
    stats: Stats


class _Page:
    """A collector for one reading."""

    def __init__(self, loads: Sequence[EndpointLoad], refused: dict[int, int], connections: int) -> None:
        self._loads = loads
        self._refused = refused
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        labels = ["namespace", "endpoint"]
        requests = CounterMetricFamily(
            "inlet_router_requests",
            "Requests that ended, by status; 499: the client went away.",
            labels=[*labels, "code"],
        )
        seconds = HistogramMetricFamily(
            "inlet_router_request_seconds",
            "From a request's head to the last byte of its answer.",
            labels=labels,
        )
        in_flight = GaugeMetricFamily(
            "inlet_router_in_flight", "Requests that are with a replica.", labels=labels
        )
        waiting = GaugeMetricFamily(
            "inlet_router_waiting", "Requests held for want of a replica.", labels=labels
        )
        repeated = CounterMetricFamily("inlet_router_repeated", "Requests sent a second time.", labels=labels)
        for load in self._loads:
            names = [load.namespace, load.name]
            for code, count in sorted(load.stats.codes.items()):
                requests.add_metric([*names, str(code)], count)
            seconds.add_metric(names, list(_cumulated(load.stats.buckets)), load.stats.seconds)
            in_flight.add_metric(names, load.in_flight)
            waiting.add_metric(names, load.waiting)
            repeated.add_metric(names, load.stats.repeated)
        refused = CounterMetricFamily(
            "inlet_router_refused", "Answers that the router gave itself, by status.", labels=["code"]
        )
        for code, count in sorted(self._refused.items()):
            refused.add_metric([str(code)], count)
        yield from (requests, seconds, in_flight, waiting, repeated, refused)
        yield GaugeMetricFamily(
            "inlet_router_connections", "Open connections of clients.", value=self._connections
        )


def _cumulated(buckets: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*(str(b) for b in BOUNDS_S), "+Inf"), buckets, strict=True):
        total += count
        yield bound, total


def page(loads: Sequence[EndpointLoad], refused: dict[int, int], connections: int) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(loads, refused, connections))
    return generate_latest(registry)
