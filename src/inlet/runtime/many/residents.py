"""Which models are in memory: loads one when a request wants it, and evicts the least recently used for it. Asked by `serving`.

Whether there is room is asked of the operating system each time, because loaded models go on growing; what is being loaded
counts as if it were there already. All state is the event loop's. Must never evict a model that computes a request, nor let
a load hold up requests for the models that are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter, time

from inlet.core.errors import InletError, Invalid, Refused, TooMany, Unavailable
from inlet.runtime import memory
from inlet.runtime.encoding import Encoding
from inlet.runtime.many.place import Failure, Place, State
from inlet.runtime.many.sizes import give_back, predicted, weights
from inlet.runtime.memory import taken
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.reasons import without_folders
from inlet.runtime.replica import Phase
from inlet.runtime.starting import Reporter, improve, in_daemon_thread, start

MOST_WAITING = 1000  # requests that wait for models to be loaded
_PAUSES_S = (
    1.0,
    5.0,
    30.0,
    300.0,
)  # after a load failed, before a request may begin another; the last one repeats
_GROWTH = 1.2  # of a model, after it was loaded: room for the shapes that requests bring
_POLITE_S = 1.0  # a model that is never idle keeps others out for so long, then it has to leave
_log = logging.getLogger(__name__)


class Residents:
    """The models of one replica. `allowed`: bytes that the process may use, None for all that there are."""

    def __init__(
        self,
        places: Sequence[Place],
        metrics: Metrics,
        allowed: int | None,
        pauses: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._places, self._metrics, self._allowed, self._pauses = places, metrics, allowed, pauses
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()  # one at a time is given room, first come first
        self._one_improves = asyncio.Lock()
        self._changed = asyncio.Event()  # something may be evictable now
        self._loading = 0  # bytes of what is being loaded
        self._changes = 0  # of what is loaded, by which a measurement is known to be of one load alone
        self._waiting = 0
        self._closed = False

    @asynccontextmanager
    async def using(self, place: Place, until: float | None) -> AsyncIterator[None]:
        """Around the computing of one request, during which `place.served` is there.

        `TooMany` when it could not be loaded before the loop's time `until`, None for as long as that takes; else the reason
        why it could not be loaded.
        """
        if not place.available:
            await self._wait_for(place, until)
        assert place.served is not None  # noqa: S101 - that was waited for, and nothing came in between
        place.users += 1
        place.requests += 1
        try:
            with place.served.used():
                yield
        finally:
            place.users -= 1
            place.last_used = time()
            self._changed.set()

    async def load(self, place: Place, report: Reporter) -> None:
        """Have it in memory; fails as `starting.start` does. `report` is called from a thread as well."""
        report(Phase.DOWNLOADING, "looking for the model's files")
        folder = await in_daemon_thread(partial(_fetched, place.options, report))
        reserved = await self._take_room(place, await asyncio.to_thread(weights, folder))
        if reserved is None:
            return
        try:
            await self._start(place, report)
        finally:
            self._loading -= reserved
            self._changed.set()
        place.improvement = asyncio.create_task(self._improve(place))

    def close(self) -> None:
        """Close every model; nothing is loaded any more."""
        self._closed = True
        for place in self._places:
            for task in (place.loading, place.improvement):
                if task is not None:
                    task.cancel()
            if place.served is not None:
                place.served.replace()
                place.served = None

    # Waiting

    async def _wait_for(self, place: Place, until: float | None) -> None:
        if self._waiting >= MOST_WAITING:
            raise TooMany(
                f"overloaded: {self._waiting} requests wait for models to be loaded; try again later",
                retry_after=1.0,
            )
        self._waiting += 1
        place.waiting += 1
        try:
            async with asyncio.timeout_at(until):
                while not place.available:
                    await self._loaded(place)
        except TimeoutError:
            self._metrics.expired()
            raise TooMany(
                f"overloaded: the model {place.listed.model_id!r} is {place.state} and was not ready within the time that the "
                "request allows; try again later",
                retry_after=1.0,
            ) from None
        finally:
            self._waiting -= 1
            place.waiting -= 1
            self._changed.set()

    async def _loaded(self, place: Place) -> None:
        """Wait for the load that all share, which goes on when a caller leaves."""
        failure = place.failure
        if failure is None or failure.until <= self._loop.time():
            if place.loading is None:
                place.loading = asyncio.create_task(self._try_to_load(place))
            failure = await asyncio.shield(place.loading)
        if failure is not None:
            pause = max(0.0, failure.until - self._loop.time())
            raise failure.kind(
                f"the model {place.listed.model_id!r} could not be loaded: {failure.reason}; a request after {pause:.0f} s has it "
                "tried again"
            )

    async def _try_to_load(self, place: Place) -> Failure | None:
        """One load for whoever waits; what goes wrong is kept in the place."""
        begin = perf_counter()
        failed: Exception | None = None
        try:
            await self.load(place, place.report)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other models go on, and callers and log are told
            failed = error
        finally:
            place.loading = None
        place.failure = None if failed is None else self._failure(place, failed)
        if failed is None:
            _log.info("%s is ready after %.2f s", place.listed.model_id, perf_counter() - begin)
        return place.failure

    def _failure(self, place: Place, error: Exception) -> Failure:
        kind: type[InletError] = Refused if isinstance(error, Refused | Invalid) else Unavailable
        reason = str(error)
        if isinstance(error, MemoryError):
            reason = "out of memory: it does not fit beside the others that are used"
        elif not isinstance(error, InletError):
            _log.error("loading %s failed", place.listed.model_id, exc_info=error)
            reason = f"{type(error).__name__}: {error}"
        times = 1 if place.failure is None else place.failure.times + 1
        pause = self._pauses[min(times, len(self._pauses)) - 1]
        reason = without_folders(reason, place.options)
        place.state = State.FAILED
        _log.warning("%s could not be loaded: %s", place.listed.model_id, reason)
        return Failure(kind, reason, times, self._loop.time() + pause)

    # Loading and evicting

    async def _start(self, place: Place, report: Reporter) -> None:
        begin, before = perf_counter(), await asyncio.to_thread(taken)
        self._changes += 1
        alone = self._changes
        served = await start(place.options, self._metrics, report)
        if self._closed:
            served.replace()
            raise Unavailable("this replica is ending")
        if alone == self._changes:
            place.size, place.measured = max(0, await asyncio.to_thread(taken) - before), True
        self._changes += 1
        place.load_seconds = perf_counter() - begin
        place.loads += 1
        place.become_ready(served)

    async def _take_room(self, place: Place, weights: int) -> int | None:
        """Wait until it fits, evicting what nobody uses; the bytes that count as taken until it is loaded, None if it is."""
        async with self._turn:
            if place.served is not None:  # it was to leave, and there was room for the other without it
                return None
            place.state = State.WAITING
            if place.size is None:
                place.size = predicted(weights)
            wanted, leave_by = int(_GROWTH * place.size), self._loop.time() + _POLITE_S
            try:
                while wanted > await self._free():
                    self._changed.clear()
                    if victim := self._least_recent([other for other in self._places if other.evictable]):
                        await self._evict(victim)
                    elif not self._others(place):
                        _check_alone(weights, await self._free())
                        break
                    else:
                        leave_by = await self._wait_for_room(leave_by)
                self._loading += wanted
                return wanted
            finally:
                for other in self._places:
                    other.leaving = False

    async def _free(self) -> int:
        return await asyncio.to_thread(memory.free, self._allowed) - self._loading

    def _others(self, place: Place) -> bool:
        """Whether another one is in memory, or is about to be."""
        return self._loading > 0 or any(
            other.served is not None for other in self._places if other is not place
        )

    async def _wait_for_room(self, leave_by: float) -> float:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(leave_by):
                await self._changed.wait()
                return leave_by
        busy = [place for place in self._places if place.served and not (place.improving or place.leaving)]
        if (place := self._least_recent(busy)) is not None:
            place.leaving = True
        return self._loop.time() + _POLITE_S

    def _least_recent(self, places: Sequence[Place]) -> Place | None:
        return min(places, key=lambda place: place.last_used or 0.0, default=None)

    async def _evict(self, place: Place) -> None:
        if place.improvement is not None:
            place.improvement.cancel()  # it waits for its turn
        served, place.served = place.served, None
        assert served is not None  # noqa: S101 - that is what evictable means
        place.leaving, place.state = False, State.UNLOADED
        place.evictions += 1
        self._changes += 1
        before = await asyncio.to_thread(taken)
        served.replace()
        del served
        await asyncio.to_thread(give_back, before - (place.size or 0) // 2)
        _log.info("%s was evicted", place.listed.model_id)

    async def _improve(self, place: Place) -> None:
        """What can be done beside serving, once. A build takes gigabytes, so encoders have turns."""
        # Not the shapes that no request has had yet: computing them would compete with the next load.
        work = partial(improve, place.options, place, self._metrics, pauses=(), shapes=False)
        if isinstance(place.served, Encoding):
            async with self._one_improves:
                place.improving = True
                try:
                    await work()
                finally:
                    place.improving = False
                    self._changed.set()
            return
        try:
            await work()
        except Unavailable as error:  # what answers cannot any more
            place.improvement = None
            await self._evict(place)
            place.failure = self._failure(place, error)


def _check_alone(weights: int, free: int) -> None:
    """A guess is given a try, but what surely does not fit would take the whole replica with it."""
    if weights > free:
        raise Refused(
            f"it needs at least {weights // 10**6} MB of memory, and without any other model {max(0, free) // 10**6} MB are free: "
            "choose a larger instance"
        )


def _fetched(options: Options, report: Reporter) -> Path:
    # What reads files of models is heavy to import.
    from inlet.runtime.loader import fetched

    return fetched(options, lambda text: report(Phase.DOWNLOADING, text))
