"""Who is computed next: a plain queue on the event loop, drained while the engine is busy. No timer, no model work.

A free lane takes a text as soon as there is one; a batch forms only from what is already waiting, and only from texts
of one bucket. Requests take turns, so that a long list does not hold up a single text. In quiet moments the engine
is shown the shapes that it has not seen (`warm_up`), one at a time.

Used by `app` and `loader` on the event loop's thread only; the lanes' threads see nothing but their own batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Any

import numpy as np

from inlet.core.errors import TooMany
from inlet.runtime.buckets import BATCH_SIZES, batch_size, bucket
from inlet.runtime.engines.base import FloatArray, Lane
from inlet.runtime.metrics import Metrics
from inlet.runtime.texts import Encoded

Reduce = Callable[[FloatArray, Encoded], Any]
_QUIET_S = 0.05  # an engine idle for so long is shown a shape, which may hold up a request by one inference
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    """One request: its texts by bucket, and the results so far."""

    encoded: Sequence[Encoded]
    reduce: Reduce
    future: asyncio.Future[list[Any]]
    waiting: dict[int, deque[int]] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    missing: int = 0

    def next_batch(self) -> int:
        """Tokens, padding included, of its next turn."""
        return next((size * min(len(items), BATCH_SIZES[0]) for size, items in self.waiting.items()), 0)

    def take(self, size: int, most: int) -> list[int]:
        """Up to `most` of its texts in that bucket."""
        indices = self.waiting.get(size)
        if not indices:
            return []
        taken = [indices.popleft() for _ in range(min(most, len(indices)))]
        if not indices:
            del self.waiting[size]
        return taken


@dataclass(slots=True, eq=False)
class _Batch:
    """Texts of one bucket on their way through a lane. Without rows it only shows the lane the shape."""

    size: int
    rows: list[tuple[_Job, int]]
    results: list[Any] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class _Spent:
    """Recent work: older batches count less and less."""

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self.tokens = 0.9 * self.tokens + tokens
        self.seconds = 0.9 * self.seconds + seconds

    @property
    def per_token(self) -> float:
        """Seconds; 0 while nothing is known."""
        return self.seconds / self.tokens if self.tokens else 0.0


class Batcher:
    """Runs requests through the lanes of one engine. `positions` is the longest input, `pad_id` fills the rest."""

    def __init__(
        self, lanes: Iterable[Lane], *, positions: int, pad_id: int, max_wait: float, metrics: Metrics
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._positions, self._max_wait, self._metrics = positions, max_wait, metrics
        self._threads = [_LaneThread(lane, pad_id, self._loop, self._finished) for lane in lanes]
        self._free = list(self._threads)
        self._jobs: deque[_Job] = deque()
        self._cold: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0  # texts
        self._seen: set[tuple[int, int]] = set()
        self._spent = _Spent()

    async def run(self, encoded: Sequence[Encoded], reduce: Reduce) -> list[Any]:
        """One result per text, in order. `TooMany` when the wait would be too long; cancelling drops what waits."""
        if not encoded:
            return []
        self._admit()
        job = _Job(
            encoded, reduce, self._loop.create_future(), results=[None] * len(encoded), missing=len(encoded)
        )
        for index, item in enumerate(encoded):
            job.waiting.setdefault(bucket(len(item), self._positions), deque()).append(index)
        self._count(job, 1)
        self._jobs.append(job)
        self._pump()
        try:
            return await job.future
        finally:
            self._forget(job)

    def warm_up(self, sizes: Iterable[int]) -> None:
        """Show these buckets to the engine while nothing else is to be done, so that the first real text is quick."""
        self._cold.extend(sizes)
        self._pump()

    def close(self) -> None:
        """End the lanes' threads after what they are doing."""
        self._cold.clear()
        self._warm_later()
        for thread in self._threads:
            thread.work.put(None)

    def _admit(self) -> None:
        """Requests take turns: a new one waits for at most one batch of each that waits already."""
        ahead = sum(job.next_batch() for job in self._jobs)
        wait = ahead * self._spent.per_token / len(self._threads)
        if wait > self._max_wait:
            raise TooMany(
                f"overloaded: {len(self._jobs)} requests wait already, about {wait:.0f} s of work; try again later",
                retry_after=max(1.0, wait / 2),
            )

    def _count(self, job: _Job, sign: int) -> None:
        self._waiting += sign * sum(map(len, job.waiting.values()))
        self._metrics.waiting.set(self._waiting)

    def _forget(self, job: _Job) -> None:
        """Drop what still waits: the caller has gone, or a part of the request failed."""
        if job.waiting:
            self._metrics.dropped(sum(map(len, job.waiting.values())))
            self._count(job, -1)
            job.waiting.clear()

    def _pump(self) -> None:
        while self._free and (batch := self._next()) is not None:
            self._free.pop().work.put(batch)
        self._warm_later()

    def _learn(self, shape: tuple[int, int], seconds: float) -> None:
        """How long a padded token takes; a shape's first use, which takes far longer, says nothing about it."""
        if shape in self._seen:
            self._spent.add(shape[0] * shape[1], seconds)
        self._seen.add(shape)

    def _warm_later(self) -> None:
        """Restart the quiet interval after which an idle engine is shown the next shape."""
        if self._timer is not None:
            self._timer.cancel()
        idle = len(self._free) == len(self._threads)
        self._timer = self._loop.call_later(_QUIET_S, self._warm_one) if idle and self._cold else None

    def _warm_one(self) -> None:
        self._free.pop().work.put(_Batch(self._cold.popleft(), []))

    def _next(self) -> _Batch | None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.waiting:
                continue
            size = next(iter(job.waiting))
            rows = self._gather(job, size)
            self._waiting -= len(rows)
            self._metrics.waiting.set(self._waiting)
            if job.waiting:
                self._jobs.append(job)  # the others first
            return _Batch(size, rows)
        return None

    def _gather(self, first: _Job, size: int) -> list[tuple[_Job, int]]:
        """As many texts of that bucket as make a full batch, the first job's before the others'."""
        jobs = (first, *self._jobs)
        there = sum(len(job.waiting.get(size, ())) for job in jobs)
        wanted = batch_size(min(there, BATCH_SIZES[0]))
        rows: list[tuple[_Job, int]] = []
        for job in jobs:
            rows += [(job, index) for index in job.take(size, wanted - len(rows))]
            if len(rows) == wanted:
                break
        return rows

    def _finished(self, thread: _LaneThread, batch: _Batch) -> None:
        self._free.append(thread)
        if batch.rows:
            self._settle(batch)
        elif batch.error is not None:
            _log.warning(
                "cannot warm up inputs of %d tokens: %s", batch.size, str(batch.error).split("\n", 1)[0]
            )
        self._pump()

    def _settle(self, batch: _Batch) -> None:
        tokens = sum(len(job.encoded[index]) for job, index in batch.rows)
        padded = batch.size * len(batch.rows)
        self._metrics.computed(texts=len(batch.rows), tokens=tokens, padding=padded - tokens)
        self._learn((len(batch.rows), batch.size), batch.seconds)
        for position, (job, index) in enumerate(batch.rows):
            if job.future.done():
                continue
            if batch.error is not None:
                job.future.set_exception(batch.error)
                self._forget(job)
                continue
            job.results[index] = batch.results[position]
            job.missing -= 1
            if job.missing == 0:
                job.future.set_result(job.results)


class _LaneThread(threading.Thread):
    """Runs one batch after another on one lane, and reports each to the loop."""

    def __init__(
        self,
        lane: Lane,
        pad_id: int,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[_LaneThread, _Batch], None],
    ) -> None:
        super().__init__(name="lane", daemon=True)
        self.work: SimpleQueue[_Batch | None] = SimpleQueue()
        self._lane, self._pad_id, self._loop, self._report = lane, pad_id, loop, report
        self.start()

    def run(self) -> None:
        while (batch := self.work.get()) is not None:
            begin = perf_counter()
            try:
                self._compute(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the requests in this batch
                batch.error = error
            batch.seconds = perf_counter() - begin
            self._loop.call_soon_threadsafe(self._report, self, batch)

    def _compute(self, batch: _Batch) -> None:
        shape = (max(1, len(batch.rows)), batch.size)
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        token_types, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        encoded = [job.encoded[index] for job, index in batch.rows]
        for row, item in enumerate(encoded):
            ids[row, : len(item)], token_types[row, : len(item)] = item.ids, item.token_types
            mask[row, : len(item)] = 1
        output = self._lane.infer(ids, token_types, mask)
        for (job, _), item, row in zip(batch.rows, encoded, output, strict=bool(batch.rows)):
            batch.results.append(job.reduce(row[: len(item)] if output.ndim == 3 else row, item))
