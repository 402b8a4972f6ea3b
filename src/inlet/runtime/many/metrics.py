"""What is counted per model, for Prometheus: read from the places at each scrape, so that nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inlet.runtime.many.place import Place

_COUNTERS: tuple[tuple[str, str, Callable[[Place], float]], ...] = (
    ("requests", "Requests that were computed.", lambda place: place.requests),
    ("loads", "Times that it was loaded.", lambda place: place.loads),
    ("evictions", "Times that it made room for another.", lambda place: place.evictions),
)


class ModelMetrics(Collector):
    """Counters and the memory of each model, by `model_id`."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    def collect(self) -> Iterator[Metric]:
        for name, words, value in _COUNTERS:
            counter = CounterMetricFamily(f"inlet_replica_model_{name}", words, labels=["model_id"])
            for place in self._places:
                counter.add_metric([place.listed.model_id], value(place))
            yield counter
        resident = GaugeMetricFamily(
            "inlet_replica_model_resident_bytes",
            "Memory that it took when it was loaded; 0 when it is not.",
            labels=["model_id"],
        )
        for place in self._places:
            resident.add_metric([place.listed.model_id], (place.size or 0) if place.served else 0)
        yield resident
