"""The batcher: who is computed when, with whom, and that nobody's answer depends on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlet.core.errors import TooMany
from inlet.runtime.batcher import Batcher
from inlet.runtime.buckets import batch_size, bucket, buckets, worth_warming
from inlet.runtime.build.encoder import Head
from inlet.runtime.artifact.candidates import FP32
from inlet.runtime.engines.base import FloatArray, IntArray
from inlet.runtime.metrics import Metrics
from inlet.runtime.model import Model, open_model
from inlet.runtime.texts import Encoded, Limit, Text
from tests.reference import Reference
from tests.runtime.process import eventually


class GatedLane:
    """A lane whose inferences wait for the test's permission; a row's result is the sum of its ids."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.permits = threading.Semaphore(0)
        self.failure: Exception | None = None

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        self.shapes.append(ids.shape)
        assert self.permits.acquire(timeout=30)
        if self.failure is not None:
            raise self.failure
        return (ids * mask).sum(axis=1, keepdims=True).astype(np.float32)


def text(length: int, value: int = 1) -> Encoded:
    ids = np.full(length, value, dtype=np.int64)
    return Encoded(Text("", "inputs"), ids, np.zeros(length, dtype=np.int64))


def first(row: FloatArray, _: Encoded) -> float:
    return float(row[0])


@contextmanager
def batching(lane: Any, *, max_wait: float = 60.0, positions: int = 512) -> Iterator[Batcher]:
    batcher = Batcher([lane], positions=positions, pad_id=0, max_wait=max_wait, metrics=Metrics())
    try:
        yield batcher
    finally:
        batcher.close()


async def started(*work: Any) -> list[asyncio.Task[Any]]:
    """Tasks that have begun to wait, in this order."""
    tasks = [asyncio.ensure_future(item) for item in work]
    await asyncio.sleep(0)
    return tasks


async def test_a_batch_forms_while_the_engine_is_busy_and_only_within_a_bucket() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        one = await started(batcher.run([text(5)], first))
        more = await started(*(batcher.run([text(length)], first) for length in (3, 30, 8, 7, 26, 2)))
        lane.permits.release(100)
        assert await asyncio.gather(*one, *more) == [[5], [3], [30], [8], [7], [26], [2]]
    # alone at once; then what waited: four of the first bucket, two of the other
    assert lane.shapes == [(1, 8), (4, 8), (2, 32)]


async def test_batches_have_few_sizes() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        one = await started(batcher.run([text(5)], first))
        more = await started(batcher.run([text(6, value) for value in range(15)], first))
        lane.permits.release(100)
        await asyncio.gather(*one)
        assert await more[0] == [6 * value for value in range(15)]
    assert lane.shapes == [(1, 8), (8, 8), (4, 8), (2, 8), (1, 8)]


async def test_a_long_list_takes_turns_with_a_single_text() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        (long,) = await started(batcher.run([text(500)] * 40, first))
        (short,) = await started(batcher.run([text(4)], first))
        lane.permits.release(3)
        assert await short == [4]
        assert not long.done()
        lane.permits.release(100)
        assert await long == [500] * 40
    assert lane.shapes[2] == (1, 8)


async def test_what_nobody_waits_for_is_not_computed() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        running, gone, kept = await started(
            batcher.run([text(5)], first), batcher.run([text(100)] * 9, first), batcher.run([text(7)], first)
        )
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        lane.permits.release(100)
        assert await asyncio.gather(running, kept) == [[5], [7]]
    assert lane.shapes == [(1, 8), (1, 8)]


async def test_too_much_work_in_front_is_refused_at_once() -> None:
    lane = GatedLane()
    with batching(lane, max_wait=0.0) as batcher:
        lane.permits.release(2)
        await batcher.run([text(8)], first)
        await batcher.run([text(8)], first)  # the first use of a shape does not count, the second does
        running, waiting = await started(batcher.run([text(8)], first), batcher.run([text(8)], first))
        with pytest.raises(TooMany, match="overloaded: 1 requests wait already") as refused:
            await batcher.run([text(8)], first)
        assert refused.value.retry_after >= 1
        lane.permits.release(100)
        assert await asyncio.gather(running, waiting) == [[8], [8]]
        assert await batcher.run([text(8)], first) == [8]


async def test_a_failure_belongs_to_those_in_the_batch() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        (failing,) = await started(batcher.run([text(5)] * 3, first))
        lane.failure = MemoryError("no room")
        lane.permits.release(1)
        with pytest.raises(MemoryError, match="no room"):
            await failing
        lane.failure = None
        lane.permits.release(100)
        assert await batcher.run([text(6)], first) == [6]
    assert lane.shapes == [(2, 8), (1, 8)]  # the third text was not computed in vain


async def test_shapes_are_shown_in_quiet_moments_and_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine, nothing is quiet yet.
    monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 60.0)
    lane = GatedLane()
    with batching(lane) as batcher:
        batcher.warm_up([8, 16, 24])
        (busy,) = await started(batcher.run([text(100)], first))
        lane.permits.release(1)
        assert await busy == [100]
        assert lane.shapes == [(1, 104)]
        monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 0.01)
        batcher.warm_up([])  # begins the quiet moment anew
        lane.permits.release(100)
        await asyncio.to_thread(eventually, lambda: lane.shapes[1:] == [(1, 8), (1, 16), (1, 24)])


async def test_nothing_to_do_is_done_at_once() -> None:
    with batching(GatedLane()) as batcher:
        assert await batcher.run([], first) == []


@given(st.integers(1, 600), st.sampled_from([64, 72, 250, 512, 514]))
def test_a_bucket_holds_its_text_and_wastes_little(length: int, maximum: int) -> None:
    length = min(length, maximum)
    size = bucket(length, maximum)
    assert length <= size <= maximum
    assert size - length < (8 if length <= 128 else 32)
    assert size in buckets(maximum)
    assert bucket(size, maximum) == size


def test_the_sizes_are_few() -> None:
    assert buckets(20) == (8, 16, 20)
    assert len(buckets(512)) == 16 + 12
    assert worth_warming(512) == tuple(range(8, 129, 8))
    assert [batch_size(waiting) for waiting in (1, 2, 3, 4, 7, 8, 100)] == [1, 2, 2, 4, 4, 8, 8]


@pytest.fixture(scope="module")
def encoder(made: Reference) -> Model:
    return open_model(made.minilm, task="feature-extraction", head=Head.HIDDEN)


async def test_an_answer_does_not_depend_on_what_else_is_in_flight(encoder: Model) -> None:
    """The same bytes alone, and among texts of every length and order, on the real engine and model."""
    words = ["the", "small", "red", "house", "on", "an", "old", "hill", "near", "a", "wide", "slow", "river"]
    texts = [" ".join(words[i % 13 :: 1 + i % 3] * (1 + i % 5)) for i in range(40)]
    encoded = encoder.texts.encode([Text(item, "inputs") for item in texts], Limit(512, clip=True))

    def copy(row: FloatArray, _: Encoded) -> bytes:
        return row.tobytes()

    with batching(encoder.graph().compile(FP32, threads=2).lanes()[0]) as batcher:
        alone = [(await batcher.run([item], copy))[0] for item in encoded]
        assert await batcher.run(encoded, copy) == alone
        together = await asyncio.gather(*(batcher.run([item], copy) for item in reversed(encoded)))
        assert [row for (row,) in reversed(together)] == alone
