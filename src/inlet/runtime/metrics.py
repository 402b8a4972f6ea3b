"""What a replica counts, in Prometheus' text format. Written by `app` and `batcher`, read by `GET /metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry per replica, so that tests can have several in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "inlet_replica_requests", "Answered inference requests.", ["status"], registry=self.registry
        )
        self._seconds = Histogram(
            "inlet_replica_request_seconds",
            "Seconds from a request's head to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "inlet_replica_batch_size",
            "Texts that were computed together.",
            buckets=(1, 2, 4, 8),
            registry=self.registry,
        )
        self._tokens = Counter(
            "inlet_replica_tokens", "Tokens computed, without padding.", registry=self.registry
        )
        self._padding = Counter("inlet_replica_padding_tokens", "Padding computed.", registry=self.registry)
        self._dropped = Counter(
            "inlet_replica_dropped_texts",
            "Texts not computed because their caller had gone.",
            registry=self.registry,
        )
        self._expired = Counter(
            "inlet_replica_expired_requests",
            "Requests not begun within the time that they allowed.",
            registry=self.registry,
        )
        self._compared = Counter(
            "inlet_replica_compared_batches",
            "Batches computed one by one as well: first uses of a shape.",
            ["same"],
            registry=self.registry,
        )
        self._lanes = Counter(
            "inlet_replica_batches", "Batches by the kind of lane.", ["lane"], registry=self.registry
        )
        self.waiting = Gauge("inlet_replica_waiting_texts", "Texts that wait.", registry=self.registry)
        self.in_flight = Gauge("inlet_replica_in_flight", "Requests being worked on.", registry=self.registry)

    def answered(self, status: int, seconds: float) -> None:
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def computed(self, *, lane: str, texts: int, tokens: int, padding: int) -> None:
        self._lanes.labels(lane).inc()
        self._batches.observe(texts)
        self._tokens.inc(tokens)
        self._padding.inc(padding)

    def expired(self) -> None:
        self._expired.inc()

    def compared(self, *, same: bool) -> None:
        self._compared.labels("yes" if same else "no").inc()

    def dropped(self, texts: int) -> None:
        self._dropped.inc(texts)

    def render(self) -> bytes:
        return generate_latest(self.registry)
