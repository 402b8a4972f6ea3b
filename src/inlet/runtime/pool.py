"""Which lanes of an engine there are and which are free: one wide lane, or narrow ones, never both at once.

Both at once would be more threads than the replica has. Used by the batcher, on the event loop's thread only.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from inlet.runtime import memory
from inlet.runtime.engines.base import Engine, Lane
from inlet.runtime.exactness import Form
from inlet.runtime.lanes import Batch, LaneThread

# They pack the weights once more, and each has room for what it computes: of all that the process had before, a small model's
# four lanes took 0.4 (bf16) to 1.6 times (fp32) as much again.
_TIMES_OWN = 2
_log = logging.getLogger(__name__)


class LanePool:
    """The lanes of one engine. `finished` is called with each batch that has run, `grown` when there are more lanes.

    `allowed`: bytes that the process may use, which decide whether narrow lanes fit; None when nothing was said.
    """

    def __init__(
        self,
        engine: Engine,
        pad_id: int,
        *,
        allowed: int | None,
        finished: Callable[[Batch], None],
        grown: Callable[[], None],
    ) -> None:
        self._pad_id, self._allowed, self._report, self._grown = pad_id, allowed, finished, grown
        self._loop = asyncio.get_running_loop()
        (lane,) = engine.lanes()
        self._wide = self._thread(lane)
        self.on_wide: Batch | None = None  # what runs on the wide lane
        self.narrow = 0  # how many narrow lanes there are
        self._narrow: list[LaneThread] = []
        self._free: list[LaneThread] = []
        self._make_narrow: Callable[[], Sequence[Lane]] | None = engine.narrow  # until they are wanted
        self._closed = False

    @property
    def narrow_running(self) -> int:
        """How many narrow lanes compute."""
        return self.narrow - len(self._free)

    @property
    def idle(self) -> bool:
        """Whether a batch can begin on the wide lane."""
        return self.on_wide is None and not self.narrow_running and not self._closed

    @property
    def narrow_free(self) -> bool:
        """Whether a batch can begin on a narrow lane."""
        return bool(self._free) and self.on_wide is None

    def start_narrow(self, batch: Batch) -> None:
        """Run it on a lane that is free."""
        self._free.pop().start(batch)

    def start_wide(self, batch: Batch) -> None:
        """Run it alone; everything must be idle."""
        self.on_wide = batch
        self._wide.start(batch)

    def lane_for(self, form: Form) -> Lane:
        """The one that shows how such a form is computed."""
        return self._narrow[0].lane if form.narrow else self._wide.lane

    def want_narrow(self) -> None:
        """Have the narrow lanes made, once: they cost memory that a replica with one caller need not pay."""
        make, self._make_narrow = self._make_narrow, None
        if make is not None:
            threading.Thread(target=self._grow, args=(make,), name="narrow lanes", daemon=True).start()

    def close(self) -> None:
        """End the threads after what they are doing; from then on nothing here holds the engine."""
        self._closed, self._make_narrow = True, None
        for thread in (self._wide, *self._narrow):
            thread.close()

    def _thread(self, lane: Lane) -> LaneThread:
        return LaneThread(lane, self._pad_id, self._loop, self._finished)

    def _grow(self, make: Callable[[], Sequence[Lane]]) -> None:
        try:
            needed, free = _TIMES_OWN * memory.own(), memory.free(self._allowed)
            if free < needed:
                _log.warning(
                    "no narrow lanes: they may take %d MB more, and %d MB are free; the wide one does all the work",
                    needed // 10**6, free // 10**6,
                )  # fmt: skip
                return
            lanes = make()
        except Exception as error:  # noqa: BLE001 - whatever it is: the wide lane serves
            cause = " ".join(str(error).split())
            _log.warning(
                "no narrow lanes, the wide one does all the work: %s: %s", type(error).__name__, cause
            )
            return
        with suppress(RuntimeError):  # the loop is gone: the process is ending
            self._loop.call_soon_threadsafe(self._add_narrow, lanes)

    def _add_narrow(self, lanes: Sequence[Lane]) -> None:
        if self._closed:
            return
        self._narrow = [self._thread(lane) for lane in lanes]
        self._free = list(self._narrow)
        self.narrow = len(lanes)
        if lanes:
            self._grown()

    def _finished(self, thread: LaneThread, batch: Batch) -> None:
        if thread is self._wide:
            self.on_wide = None
        else:
            self._free.append(thread)
        self._report(batch)
