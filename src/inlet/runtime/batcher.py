"""Who is computed next, and on which lane: on the event loop, without a timer and without model work.

A free engine takes a text as soon as there is one; a batch forms only from what is already waiting, and only from texts
of one bucket. What waits alone gets the wide lane, which uses every thread; where enough waits to fill most threads,
each is a narrow lane of its own, if the engine has these. In quiet moments the engine is shown the forms that it has
not seen (`warm_up`), one at a time.

Used by `app` and `serve` on the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inlet.core.errors import TooMany
from inlet.runtime.buckets import batch_sizes, batches, bucket
from inlet.runtime.costs import Costs
from inlet.runtime.engines.base import Engine, IntArray
from inlet.runtime.exactness import Exactness, Form
from inlet.runtime.expiry import expire
from inlet.runtime.lanes import Batch
from inlet.runtime.metrics import Metrics
from inlet.runtime.pool import LanePool
from inlet.runtime.room import Room
from inlet.runtime.texts import Encoded
from inlet.runtime.turns import Job, Reduce, Turns

_QUIET_S = 0.05  # an engine idle for so long is shown a form, which may hold up a request by one inference
_COMPARE_EVERY = 8  # batches, of which one may be a narrow form's comparison: it holds up every lane
_RECHECK_EVERY = 256  # batches, of which one is compared although its form is proven
MOST_TOKENS = 2_000_000  # of requests in hand; each takes some 100 bytes
_OPENING_S = 5.0  # what was held up while the replica started arrives at once, and is not overload
# How many times as long as foreseen a wait may last: later texts fill up earlier batches, and better refused at once than late.
_LONGER = 1.25
# Of the narrow lanes; with fewer at work the wide one may do more: with two threads it did 1.4 to 1.9 times what one does.
_FILLED = 0.75
_log = logging.getLogger(__name__)


class Batcher:
    """Runs requests through one engine. `positions` is the longest input, `pad_id` fills the rest.

    `max_wait`: predicted seconds of work in front of a request, above which it is refused at once. `memory`: bytes that
    this process may use, None when nothing was said. `exactness`: the file that keeps which forms are exact.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        positions: int,
        pad_id: int,
        max_wait: float,
        metrics: Metrics,
        memory: int | None = None,
        exactness: Path | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._positions, self._pad_id = positions, pad_id
        self._max_wait, self._metrics = max_wait, metrics
        self._lanes = LanePool(
            engine, pad_id, allowed=memory, finished=self._finished, grown=self._warm_narrow
        )
        self._turns, self._costs, self._exactness = Turns(), Costs(), Exactness(exactness)
        self._tokens = Room(MOST_TOKENS, "tokens")
        self._ends: dict[Batch, float] = {}  # the loop's time at which each that runs should have run
        self._uncompared = 0  # batches since a narrow form was compared for a request
        self._unchecked = 0  # batches since any was compared
        self._shapes: list[tuple[int, int]] = []  # that are worth warming
        self._cold: deque[Form] = deque()
        self._sample: IntArray | None = None  # tokens of the first text, to warm up with
        self._timer: asyncio.TimerHandle | None = None
        self._interrupted = 0  # times in a row that a request came while the engine was shown a form
        self._opened = self._loop.time()

    async def run(
        self,
        encoded: Sequence[Encoded],
        reduce: Reduce,
        *,
        arrived: float | None = None,
        patience: float | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> list[Any]:
        """One result per text, in order; cancelling drops what waits. `on_begin` is called when the engine gets the first of them.

        `patience`: seconds after `arrived` (the loop's time; None for now) until the first of them must have begun.
        `TooMany` when that would take too long, or did, or when all that wait hold too much.
        """
        if not encoded:
            return []
        arrived = self._loop.time() if arrived is None else arrived
        self.admit(arrived, patience)
        with self._tokens.taken(sum(map(len, encoded))):
            return await self._run(
                encoded, reduce, None if patience is None else arrived + patience, on_begin
            )

    async def _run(
        self,
        encoded: Sequence[Encoded],
        reduce: Reduce,
        begun_by: float | None,
        on_begin: Callable[[], None] | None,
    ) -> list[Any]:
        if self._sample is None:
            self._sample = encoded[0].ids
        job = Job(
            encoded,
            reduce,
            self._loop.create_future(),
            results=[None] * len(encoded),
            missing=len(encoded),
            on_begin=on_begin,
        )
        for index, item in enumerate(encoded):
            job.waiting.setdefault(bucket(len(item), self._positions), deque()).append(index)
        self._turns.add(job)
        self._pump()
        # Even where that is over by now: what has begun at once is not too late.
        expiry = None if begun_by is None else self._loop.call_at(begun_by, expire, job, self._metrics)
        try:
            return await job.future
        finally:
            self._forget(job)
            if expiry is not None:
                expiry.cancel()

    def admit(self, arrived: float, patience: float | None = None) -> None:
        """`TooMany` if a request of that time would wait too long in all. Costs next to nothing: ask before reading it."""
        if not self._turns.texts and patience is None:
            return
        now = self._loop.time()
        bound = math.inf if now < self._opened + _OPENING_S else self._max_wait
        if patience is not None:
            bound = min(patience / _LONGER, bound)
        bound = max(0.0, bound - (now - arrived))
        wait = self._until_free(now) + self._costs.total(batches(self._turns.ahead))
        if wait > bound:
            raise TooMany(
                f"overloaded: {self._turns.texts} texts wait already, about {wait:.2f} s of work in front of a new "
                f"request, more than {bound:.3g} s; try again later",
                retry_after=max(1.0, wait - bound),
            )

    def warm_up(self, shapes: Iterable[tuple[int, int]]) -> None:
        """Show these (texts, bucket) to the engine while nothing else is to be done, so that the first use is quick."""
        self._shapes += shapes
        self._cold.extend(Form(False, *shape) for shape in self._shapes)
        self._pump()

    def close(self) -> None:
        """End the lanes' threads after what they are doing."""
        self._cold.clear()
        self._warm_later()
        self._lanes.close()

    def _until_free(self, now: float) -> float:
        """Seconds until a lane has run what it runs, as far as can be told."""
        if self._lanes.idle or self._lanes.narrow_free:
            return 0.0
        return max(0.0, min(self._ends.values(), default=now) - now)

    def _forget(self, job: Job) -> None:
        """Drop what still waits: the caller has gone, or a part of the request failed."""
        if dropped := self._turns.forget(job):
            self._metrics.dropped(dropped)
            self._metrics.waiting.set(self._turns.texts)

    def _pump(self) -> None:
        while (form := self._next_form()) is not None and self._start(form):
            pass
        self._metrics.waiting.set(self._turns.texts)
        if self._turns.texts and (running := self._lanes.on_wide) is not None:
            running.abandoned = not running.rows
        self._warm_later()

    def _next_form(self) -> Form | None:
        """How what is next should run, as large as what waits and what gives exact answers allow; None while it cannot."""
        if self._lanes.on_wide is not None or (coming := self._turns.next()) is None:
            return None
        size, there = coming
        sizes = [texts for texts in batch_sizes(size) if texts <= there]
        forms = [Form(False, texts, size) for texts in sizes]
        running, waiting = self._lanes.narrow_running, self._turns.texts
        if running or waiting > sizes[0]:
            self._lanes.want_narrow()
            if 0 < self._lanes.narrow * _FILLED <= running + waiting:
                forms = [*self._narrow_forms(size, sizes), *forms]
        return next(form for form in forms if not self._exactness.refuted(form))

    def _narrow_forms(self, size: int, sizes: Sequence[int]) -> list[Form]:
        """The narrow forms that the next texts may take: all lanes share what waits.

        One that is not proven must be compared, which holds up every lane: so only now and then, the fewest texts first.
        Proven ones are used while all that waits has one: each change between narrow and wide leaves lanes idle.
        """
        share = math.ceil(self._turns.texts / self._lanes.narrow)
        forms = [Form(True, texts, size) for texts in sizes if texts <= share]
        known = self._exactness
        if known.refuted(forms[-1]):
            return []
        unproven = [form for form in forms if not (known.proven(form) or known.refuted(form))]
        if unproven and self._uncompared >= _COMPARE_EVERY:
            return unproven[-1:]
        if all(known.proven(Form(True, 1, waiting)) for waiting in self._turns.buckets):
            return [form for form in forms if known.proven(form)]
        return []

    def _start(self, form: Form) -> bool:
        """Run the next texts in that form, unless it must wait for a lane."""
        compared = self._must_compare(form)
        narrow = form.narrow and not compared
        if not (self._lanes.narrow_free if narrow else self._lanes.idle):
            return False
        batch = Batch(form, self._turns.take(form.size, form.texts))
        self._uncompared += 1
        self._unchecked += 1
        if compared:
            batch.compared = self._lanes.lane_for(form)
            self._unchecked = 0
            if form.narrow:
                self._uncompared = 0
        seconds = self._costs.of((form.texts, form.size))
        self._ends[batch] = self._loop.time() + seconds * (self._lanes.narrow if narrow else 1)
        if narrow:
            self._lanes.start_narrow(batch)
        else:
            self._lanes.start_wide(batch)
        return True

    def _must_compare(self, form: Form) -> bool:
        """Whether it must run beside the reference: unproven, or its turn to be looked at again."""
        if form.is_reference:
            return False
        return not self._exactness.proven(form) or self._unchecked >= _RECHECK_EVERY

    def _warm_narrow(self) -> None:
        self._cold.extend(Form(True, *shape) for shape in self._shapes)
        self._pump()

    def _warm_later(self) -> None:
        """Restart the quiet interval after which an idle engine is shown the next form.

        It grows while requests keep interrupting, or steady ones would each find the engine at it, and it never done.
        """
        if self._timer is not None:
            self._timer.cancel()
        quiet = self._cold and self._lanes.idle
        interval = _QUIET_S * 2**self._interrupted
        self._timer = self._loop.call_later(interval, self._warm_one) if quiet else None

    def _warm_one(self) -> None:
        form = self._cold.popleft()
        sample = np.array([self._pad_id]) if self._sample is None else self._sample
        compared = None if form.is_reference else self._lanes.lane_for(form)
        self._lanes.start_wide(Batch(form, sample=sample, compared=compared))

    def _finished(self, batch: Batch) -> None:
        self._ends.pop(batch, None)  # one that only shows a form is not in it
        if batch.numbers:
            self._exactness.record(batch.form, batch.numbers, same=batch.same)
            self._metrics.compared(same=batch.same)
        if batch.rows:
            self._settle(batch)
        elif batch.error is not None:
            _log.warning("cannot warm up %s: %s", batch.form, str(batch.error).split("\n", 1)[0])
        elif batch.abandoned and not (batch.numbers or batch.form.is_reference):
            self._cold.appendleft(batch.form)
            self._interrupted += 1
        else:
            self._interrupted = 0
        self._pump()

    def _settle(self, batch: Batch) -> None:
        tokens = sum(len(job.encoded[index]) for job, index in batch.rows)
        texts, padded = batch.form.texts, batch.form.texts * batch.form.size
        narrow = batch.form.narrow and batch.compared is None
        lane = "narrow" if narrow else "wide"
        self._metrics.computed(lane=lane, texts=texts, tokens=tokens, padding=padded - tokens)
        if batch.compared is None and batch.error is None:
            lanes = self._lanes.narrow if narrow else 1
            self._costs.add((texts, batch.form.size), batch.seconds / lanes)
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
