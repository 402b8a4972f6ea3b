"""The threads that compute: one batch after another on one lane, each reported to the event loop.

Used by the batcher only, which decides what runs; a thread here sees nothing but the batch that it was given.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Any

import numpy as np

from inlet.runtime.engines.base import FloatArray, IntArray, Lane
from inlet.runtime.exactness import Form
from inlet.runtime.padding import padded
from inlet.runtime.turns import Row


@dataclass(slots=True, eq=False)
class Batch:
    """Texts on their way through a lane. Without rows it only shows a form to the engine, with tokens of `sample`.

    With `compared` that lane computes them together as well, and only the lane's own results, one text after another,
    are used; `numbers` and `same` then tell how many results were compared, and whether all were equal.
    """

    form: Form
    rows: Sequence[Row] = ()
    sample: IntArray | None = None
    compared: Lane | None = None
    abandoned: bool = False  # set by the loop: somebody waits for the lane
    results: list[Any] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0
    numbers: int = 0
    same: bool = True


class LaneThread:
    """Runs one lane; `report` is called on the loop with each batch that has run."""

    def __init__(
        self,
        lane: Lane,
        pad_id: int,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[LaneThread, Batch], None],
    ) -> None:
        self.lane = lane
        self._pad_id, self._loop, self._report = pad_id, loop, report
        self._work: SimpleQueue[Batch | None] = SimpleQueue()
        threading.Thread(target=self._run, name="lane", daemon=True).start()

    def start(self, batch: Batch) -> None:
        """Run it next."""
        self._work.put(batch)

    def close(self) -> None:
        """End after what it is doing."""
        self._work.put(None)

    def _run(self) -> None:
        while (batch := self._work.get()) is not None:
            begin = perf_counter()
            try:
                self._compute(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the requests in this batch
                batch.error = error
            batch.seconds = perf_counter() - begin
            with suppress(RuntimeError):  # the loop is gone: the process is ending
                self._loop.call_soon_threadsafe(self._report, self, batch)
        del self.lane  # and with it the engine's memory, without waiting for a garbage collection

    def _compute(self, batch: Batch) -> None:
        inputs = self._inputs(batch)
        if batch.compared is None:
            output = self.lane.infer(*inputs)
        else:
            together = batch.compared.infer(*inputs).copy()
            alone = []
            for row in range(batch.form.texts):
                if batch.abandoned:
                    return
                alone.append(self.lane.infer(*(values[row : row + 1] for values in inputs)).copy())
            output = np.concatenate(alone)
            batch.numbers, batch.same = output.size, output.tobytes() == together.tobytes()
        for (job, index), row in zip(batch.rows, output, strict=bool(batch.rows)):
            item = job.encoded[index]
            batch.results.append(job.reduce(_without_padding(row, len(item)), item))

    def _inputs(self, batch: Batch) -> tuple[IntArray, IntArray, IntArray]:
        shape = (batch.form.texts, batch.form.size)
        if batch.sample is not None:
            return np.resize(batch.sample, shape), np.zeros(shape, np.int64), np.ones(shape, np.int64)
        return padded([job.encoded[index] for job, index in batch.rows], shape, self._pad_id)


def _without_padding(row: FloatArray, length: int) -> FloatArray:
    """A row per token ends with the text; a row for the whole text stays."""
    return row[:length] if row.ndim == 2 else row
