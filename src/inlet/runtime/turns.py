"""Requests that wait, and whose texts come next. Pure bookkeeping on the event loop's thread; used by the batcher.

Requests take turns, a batch each, so that a long list does not hold up a single text; a batch is filled up with other
requests' texts of the same bucket.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from inlet.runtime.buckets import batch_sizes
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.texts import Encoded

Reduce: TypeAlias = Callable[[FloatArray, Encoded], Any]
Row: TypeAlias = "tuple[Job, int]"  # one text: the request, and which of its texts


@dataclass(slots=True, eq=False)
class Job:
    """One request: its texts that wait, by bucket, and the results so far."""

    encoded: Sequence[Encoded]
    reduce: Reduce
    future: asyncio.Future[list[Any]]
    waiting: dict[int, deque[int]] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    missing: int = 0
    begun: bool = False
    on_begin: Callable[[], None] | None = None

    def turn(self) -> tuple[int, int]:
        """Bucket and number of the texts that its next turn computes at most."""
        size, items = next(iter(self.waiting.items()))
        return size, min(len(items), batch_sizes(size)[0])

    def take(self, size: int, most: int) -> list[Row]:
        """Up to `most` of its texts in that bucket."""
        indices = self.waiting[size]
        taken = [(self, indices.popleft()) for _ in range(min(most, len(indices)))]
        if not indices:
            del self.waiting[size]
        if not self.begun and self.on_begin is not None:
            self.on_begin()
        self.begun = True
        return taken


class Turns:
    """The requests that wait, first come first."""

    def __init__(self) -> None:
        self.texts = 0
        self._jobs: deque[Job] = deque()
        self._there: Counter[int] = Counter()
        self._ahead: Counter[int] = Counter()

    @property
    def ahead(self) -> Mapping[int, int]:
        """Texts by bucket that are computed before a new request has its turn."""
        return self._ahead

    @property
    def buckets(self) -> Iterator[int]:
        """The buckets in which texts wait."""
        return (size for size, texts in self._there.items() if texts)

    def add(self, job: Job) -> None:
        self._jobs.append(job)
        self._count(job, 1)

    def forget(self, job: Job) -> int:
        """Its texts wait no longer; how many they were."""
        before = self.texts
        self._count(job, -1)
        job.waiting.clear()
        return before - self.texts

    def next(self) -> tuple[int, int] | None:
        """The bucket whose turn it is, and how many texts of all requests wait in it."""
        while self._jobs and not self._jobs[0].waiting:
            self._jobs.popleft()
        if not self._jobs:
            return None
        size, _ = self._jobs[0].turn()
        return size, self._there[size]

    def take(self, size: int, texts: int) -> list[Row]:
        """That many texts of the bucket that `next` named; the request whose turn it was goes behind the others."""
        rows: list[Row] = []
        for job in self._jobs:
            if size in job.waiting:
                self._count(job, -1)
                rows += job.take(size, texts - len(rows))
                self._count(job, 1)
            if len(rows) == texts:
                break
        self._jobs.rotate(-1)
        return rows

    def _count(self, job: Job, sign: int) -> None:
        if not job.waiting:
            return
        size, texts = job.turn()
        self._ahead[size] += sign * texts
        for bucket, items in job.waiting.items():
            self._there[bucket] += sign * len(items)
            self.texts += sign * len(items)
