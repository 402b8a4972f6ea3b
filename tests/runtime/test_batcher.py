"""The batcher: who is computed when, with whom, and that nobody's answer depends on it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlet.core.errors import TooMany
from inlet.runtime.batcher import Batcher
from inlet.runtime.buckets import batch_sizes, batches, bucket, buckets, worth_warming
from inlet.runtime.build.encoder import Head
from inlet.runtime.costs import Costs
from inlet.runtime.engines.base import BF16, FP32, FloatArray, IntArray, Variant
from inlet.runtime.exactness import Form
from inlet.runtime.metrics import Metrics
from inlet.runtime.model import Model, open_model
from inlet.runtime.texts import Encoded, Limit, Text
from tests.reference import Reference
from tests.runtime.process import eventually


class GatedLane:
    """A lane whose inferences wait for the test's permission; a row's results are copies of the sum of its ids."""

    def __init__(self, results: int = 100) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.permits = threading.Semaphore(0)
        self.failure: Exception | None = None
        self.results = results

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        self.shapes.append(ids.shape)
        assert self.permits.acquire(timeout=60)
        if self.failure is not None:
            raise self.failure
        return np.repeat((ids * mask).sum(axis=1, keepdims=True), self.results, axis=1).astype(np.float32)


class InexactLane(GatedLane):
    """Rounds differently when it computes eight texts at once, and if told so a single one."""

    def __init__(self, alone: float = 0.0) -> None:
        super().__init__()
        self.off = {1: alone, 8: 0.5}

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        return super().infer(ids, token_types, mask) + np.float32(self.off.get(len(ids), 0))


class GatedEngine:
    """An engine of gated lanes."""

    def __init__(self, wide: Any, *narrow: Any) -> None:
        self.variant, self.threads = FP32, max(1, len(narrow))
        self._wide, self._narrow = wide, narrow

    def lanes(self) -> Sequence[Any]:
        return (self._wide,)

    def narrow(self) -> Sequence[Any]:
        return self._narrow


def text(length: int, value: int = 1) -> Encoded:
    ids = np.full(length, value, dtype=np.int64)
    return Encoded(Text("", "inputs"), ids, np.zeros(length, dtype=np.int64))


def first(row: FloatArray, _: Encoded) -> float:
    return float(row[0])


def compared(texts: int, size: int) -> list[tuple[int, int]]:
    """What a lane sees when it is given such a batch for the first time."""
    return [(texts, size), *[(1, size)] * texts]


@contextmanager
def batching(wide: Any, *narrow: Any, max_wait: float = 60.0, **more: Any) -> Iterator[Batcher]:
    engine = wide if hasattr(wide, "lanes") else GatedEngine(wide, *narrow)
    batcher = Batcher(engine, positions=512, pad_id=0, max_wait=max_wait, metrics=Metrics(), **more)
    try:
        yield batcher
    finally:
        batcher.close()


async def until_proven(batcher: Batcher, texts: Sequence[Encoded], *forms: Form) -> None:
    """Have the texts computed until those forms may be used."""
    for turn in range(100):
        if all(batcher._exactness.proven(form) for form in forms):
            return
        start = turn % len(texts)  # the last one gets the wide lane, for nothing waits beside it
        await batcher.run([*texts[start:], *texts[:start]], first)
    pytest.fail(f"not all of {forms} were proven")


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
    assert lane.shapes == [(1, 8), *compared(4, 8), *compared(2, 32)]


async def test_it_is_told_once_when_the_first_text_of_a_request_is_begun() -> None:
    lane, told = GatedLane(), []
    with batching(lane) as batcher:
        one = await started(batcher.run([text(5)], first, on_begin=lambda: told.append("one")))
        assert told == ["one"]
        more = await started(batcher.run([text(5), text(30)], first, on_begin=lambda: told.append("more")))
        assert told == ["one"]  # the other one waits
        lane.permits.release(100)
        await asyncio.gather(*one, *more)
    assert told == ["one", "more"]


async def test_batches_have_few_sizes_and_few_tokens() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        one = await started(batcher.run([text(5)], first))
        more = await started(batcher.run([text(6, value) for value in range(15)], first))
        lane.permits.release(1000)
        await asyncio.gather(*one)
        assert await more[0] == [6 * value for value in range(15)]
        assert lane.shapes == [(1, 8), *compared(8, 8), *compared(4, 8), *compared(2, 8), (1, 8)]
        assert await batcher.run([text(100)] * 4 + [text(300)] * 2, first) == [100] * 4 + [300] * 2
    assert lane.shapes[-6:] == [*compared(2, 104), (2, 104), (1, 320), (1, 320)]


async def test_a_batch_is_used_alone_once_it_gave_the_same_as_one_by_one() -> None:
    lane = GatedLane(results=8)
    lane.permits.release(1000)
    with batching(lane) as batcher:
        for _ in range(6):
            assert await batcher.run([text(6, value) for value in range(8)], first) == list(range(0, 48, 6))
    # eight numbers of each of eight texts: enough after one time, and this is that bucket's first
    assert lane.shapes == [*compared(8, 8), *[(8, 8)] * 5]


async def test_what_was_found_out_is_kept_for_the_next_replica(tmp_path: Path) -> None:
    kept = tmp_path / "engine" / "exactness.json"

    async def shapes(lane: GatedLane) -> list[tuple[int, ...]]:
        lane.permits.release(1000)
        with batching(lane, exactness=kept) as batcher:
            assert await batcher.run([text(6, value) for value in range(8)], first) == list(range(0, 48, 6))
        return lane.shapes

    assert await shapes(GatedLane()) == [*compared(8, 8)]
    assert await shapes(GatedLane()) == [(8, 8)]
    kept.write_text("nonsense")
    assert await shapes(InexactLane()) == [*compared(8, 8)]
    assert await shapes(InexactLane()) == [*compared(4, 8), (4, 8)]  # eight are ruled out from the start


async def test_a_batch_size_that_changes_answers_is_never_used_again() -> None:
    lane = InexactLane()
    lane.permits.release(1000)
    with batching(lane) as batcher:
        for _ in range(2):
            assert await batcher.run([text(6, value) for value in range(8)], first) == list(range(0, 48, 6))
        assert await batcher.run([text(9)] * 8, first) == [9] * 8  # in no bucket
    assert lane.shapes == [*compared(8, 8), *compared(4, 8), (4, 8), *compared(4, 16), (4, 16)]


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


async def test_narrow_lanes_are_made_when_more_waits_and_never_run_with_the_wide_one() -> None:
    wide, narrow = GatedLane(), [GatedLane(), GatedLane()]
    wide.permits.release(1000)
    with batching(wide, *narrow) as batcher:
        assert await batcher.run([text(5)], first) == [5]
        assert not batcher._lanes.narrow  # nobody else waited
        texts = [text(6, 1), text(20, 2), text(40, 3), text(60, 4)]
        for lane in narrow:
            lane.permits.release(1000)
        await batcher.run(texts, first)
        await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow == 2)
        await until_proven(batcher, texts, *(Form(True, 1, size) for size in (8, 24, 40, 64)))
        assert await batcher.run(texts, first) == [6, 40, 120, 240]

        for lane in narrow:
            lane.permits = threading.Semaphore(0)
        before, seen = len(wide.shapes), len(narrow[1].shapes)
        (two,) = await started(batcher.run(texts[:2], first))
        await asyncio.to_thread(eventually, lambda: len(narrow[1].shapes) > seen)
        (third,) = await started(batcher.run(texts[2:3], first))
        narrow[1].permits.release(2)
        assert await third == [120]
        # one lane is free again, but what is next is not proven there
        (new,) = await started(batcher.run([text(90)], first))
        assert batcher._lanes.on_wide is None
        assert len(wide.shapes) == before
        narrow[0].permits.release(1000)
        assert await asyncio.gather(two, new) == [[6, 40], [90]]
        assert len(wide.shapes) == before + 1


async def test_a_narrow_lane_with_other_answers_is_never_used() -> None:
    wide, narrow = GatedLane(), [InexactLane(alone=0.25), InexactLane(alone=0.25)]
    for lane in (wide, *narrow):
        lane.permits.release(1000)
    with batching(wide, *narrow) as batcher:
        for _ in range(5):
            assert await batcher.run([text(6), text(20), text(40)], first) == [6, 20, 40]
            await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow == 2)
    assert len(narrow[0].shapes) == 1
    assert not narrow[1].shapes


async def test_narrow_forms_that_must_be_compared_are_rare() -> None:
    wide, narrow = GatedLane(results=300), [GatedLane(results=300), GatedLane(results=300)]
    for lane in (wide, *narrow):
        lane.permits.release(10_000)
    texts = [text(length) for length in range(8, 129, 8)]
    with batching(wide, *narrow) as batcher:
        await batcher.run(texts, first)
        await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow == 2)
        before = len(wide.shapes)
        for _ in range(5):
            await batcher.run(texts, first)
        assert len(wide.shapes) == before + 5 * len(texts)
        assert 1 < len(narrow[0].shapes) <= 5 * len(texts) / 8 + 1
        # and they are not used before they can be for all that waits: each change would leave lanes idle
        assert not narrow[1].shapes
        await until_proven(batcher, texts, *(Form(True, 1, len(item)) for item in texts))
        await batcher.run(texts, first)
        assert narrow[1].shapes


async def test_narrow_lanes_that_memory_does_not_suffice_for_are_not_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Greedy(GatedEngine):
        def narrow(self) -> Sequence[Any]:
            raise AssertionError("this would have ended the process")

    wide = GatedLane()
    wide.permits.release(1000)
    with batching(Greedy(wide), memory=1_000_000) as batcher:
        assert await batcher.run([text(6), text(20)], first) == [6, 20]
        await asyncio.to_thread(eventually, lambda: caplog.messages)
        assert await batcher.run([text(6), text(20)], first) == [6, 20]
    (message,) = caplog.messages
    assert message.startswith("no narrow lanes: they may take ")


async def test_a_form_in_use_is_compared_again_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.batcher._RECHECK_EVERY", 5)
    lane = InexactLane()
    lane.off = {}
    lane.permits.release(1000)
    with batching(lane) as batcher:
        await until_proven(batcher, [text(6)] * 8, Form(False, 8, 8))
        lane.off = {8: 0.5}  # what luck had hidden
        for _ in range(5):
            assert await batcher.run([text(6)] * 8, first) == [6.5] * 8
        assert await batcher.run([text(6)] * 8, first) == [6] * 8  # compared
        lane.shapes.clear()
        assert await batcher.run([text(6)] * 8, first) == [6] * 8
        assert (8, 8) not in lane.shapes


async def test_too_many_tokens_in_hand_are_refused_and_small_requests_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inlet.runtime.batcher.MOST_TOKENS", 10_000)
    lane = GatedLane()
    with batching(lane) as batcher:
        (long,) = await started(batcher.run([text(500)] * 30, first))  # alone any size is taken
        with pytest.raises(TooMany, match="requests in hand have 15000 tokens, and with 11 more") as refused:
            await batcher.run([text(11)], first)
        assert refused.value.retry_after >= 1
        (short,) = await started(batcher.run([text(10)], first))
        lane.permits.release(1000)
        assert await asyncio.gather(long, short) == [[500] * 30, [10]]
        assert await batcher.run([text(500)] * 20, first) == [500] * 20


async def test_the_time_to_wait_counts_from_the_arrival() -> None:
    """Not from when the texts are tokenized, which may have taken most of it."""
    lane = GatedLane()
    with batching(lane) as batcher:
        (running,) = await started(batcher.run([text(5)], first))
        an_hour_ago = asyncio.get_running_loop().time() - 3600
        with pytest.raises(TooMany, match="not begun within the time"):
            await batcher.run([text(5)], first, arrived=an_hour_ago, patience=3599)
        (in_time,) = await started(batcher.run([text(5)], first, arrived=an_hour_ago, patience=7200))
        lane.permits.release(100)
        assert await asyncio.gather(running, in_time) == [[5], [5]]
        # what can begin at once is not too late
        assert await batcher.run([text(5)], first, arrived=an_hour_ago, patience=1) == [5]


async def test_the_longest_wait_counts_from_the_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.batcher._OPENING_S", 0.0)
    lane = GatedLane()
    with batching(lane, max_wait=3600.0) as batcher:
        lane.permits.release(2)
        for _ in range(2):
            await batcher.run([text(8)], first)
        held = await started(batcher.run([text(8)], first), batcher.run([text(8)], first))
        now = asyncio.get_running_loop().time()
        batcher.admit(now)
        with pytest.raises(TooMany, match="more than 0 s"):
            batcher.admit(now - 3600)
        lane.permits.release(100)
        assert await asyncio.gather(*held) == [[8], [8]]
        batcher.admit(now - 3600)  # nothing is in front of it


async def test_what_has_not_begun_in_time_is_dropped() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        running, kept = await started(batcher.run([text(5)], first), batcher.run([text(7)], first))
        with pytest.raises(TooMany, match="not begun within the time"):
            await batcher.run([text(100)] * 9, first, patience=0.01)
        lane.permits.release(100)
        assert await asyncio.gather(running, kept) == [[5], [7]]
    assert lane.shapes == [(1, 8), (1, 8)]


async def test_what_has_begun_in_time_is_finished() -> None:
    lane = GatedLane()
    with batching(lane) as batcher:
        (begun,) = await started(batcher.run([text(5)] * 2, first, patience=0))
        for _ in range(3):
            await asyncio.sleep(0)  # the loop finds that its time is over
        lane.permits.release(100)
        assert await begun == [5, 5]


async def test_too_much_work_in_front_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.batcher._OPENING_S", 0.0)
    lane = GatedLane()
    with batching(lane, max_wait=0.0) as batcher:
        lane.permits.release(2)
        await batcher.run([text(8)], first)
        await batcher.run([text(8)], first)  # the first use of a shape does not count, the second does
        running, waiting = await started(batcher.run([text(8)], first), batcher.run([text(8)], first))
        with pytest.raises(TooMany, match="overloaded: 1 texts wait already") as refused:
            batcher.admit(asyncio.get_running_loop().time())
        with pytest.raises(TooMany, match="more than 0 s"):
            await batcher.run([text(8)], first, patience=10)
        assert refused.value.retry_after >= 1
        lane.permits.release(100)
        assert await asyncio.gather(running, waiting) == [[8], [8]]
        assert await batcher.run([text(8)], first) == [8]


async def test_what_runs_counts_until_it_should_be_over() -> None:
    lane = GatedLane()
    with batching(lane, max_wait=7200.0) as batcher:
        for _ in range(2):
            batcher._costs.add((1, 8), 3600.0)
        (running,) = await started(batcher.run([text(8)], first))
        now = asyncio.get_running_loop().time()
        batcher.admit(now, patience=7000)
        with pytest.raises(TooMany, match=r"0 texts wait already, about 3[56]\d\d.\d\d s of work in front"):
            batcher.admit(now, patience=1800)
        lane.permits.release()
        assert await running == [8]
        batcher.admit(now, patience=0.0)


async def test_what_was_held_up_by_a_start_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.batcher._OPENING_S", 60.0)
    lane = GatedLane()
    with batching(lane, max_wait=0.0) as batcher:
        lane.permits.release(2)
        await batcher.run([text(8)], first)
        await batcher.run([text(8)], first)
        held = await started(*(batcher.run([text(8)], first) for _ in range(400)))
        with pytest.raises(TooMany, match="more than 0 s"):  # it would not wait
            batcher.admit(asyncio.get_running_loop().time(), patience=0)
        lane.permits.release(1000)
        assert await asyncio.gather(*held) == [[8]] * 400


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


async def test_a_failure_says_nothing_about_costs() -> None:
    lane = GatedLane()
    lane.failure = ValueError("no such token")
    lane.permits.release(2)
    with batching(lane) as batcher:
        for _ in range(2):
            with pytest.raises(ValueError, match="no such token"):
                await batcher.run([text(6)], first)
        assert batcher._costs.of((1, 8)) == 0


async def test_shapes_are_shown_in_quiet_moments_and_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine, nothing is quiet yet.
    monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 60.0)
    lane = GatedLane()
    with batching(lane) as batcher:
        batcher.warm_up([(1, 8), (1, 16), (2, 24)])
        (busy,) = await started(batcher.run([text(100)], first))
        lane.permits.release(1)
        assert await busy == [100]
        assert lane.shapes == [(1, 104)]
        monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 0.01)
        batcher.warm_up([])  # begins the quiet moment anew
        lane.permits.release(100)
        await asyncio.to_thread(eventually, lambda: lane.shapes[1:] == [(1, 8), (1, 16), *compared(2, 24)])


async def test_a_comparison_that_nobody_waits_for_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 0.01)
    lane = GatedLane()
    with batching(lane) as batcher:
        batcher.warm_up([(8, 8)])
        await asyncio.to_thread(eventually, lambda: lane.shapes)
        (urgent,) = await started(batcher.run([text(5)], first))
        lane.permits.release(2)
        assert await urgent == [5]
        assert lane.shapes[:2] == [(8, 8), (1, 8)]
        lane.permits.release(100)
        await asyncio.to_thread(eventually, lambda: lane.shapes[2:] == compared(8, 8))


async def test_requests_that_keep_interrupting_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first quiet moment comes at once, the one after an interruption never.
    monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 0.0)
    lane = GatedLane()
    with batching(lane) as batcher:
        batcher.warm_up([(8, 8)])
        await asyncio.to_thread(eventually, lambda: lane.shapes)
        monkeypatch.setattr("inlet.runtime.batcher._QUIET_S", 30.0)
        (urgent,) = await started(batcher.run([text(5)], first))
        lane.permits.release(2)
        assert await urgent == [5]
        assert batcher._timer is not None
        assert batcher._timer.when() > asyncio.get_running_loop().time() + 30.0


async def test_narrow_lanes_that_come_too_late_are_let_go() -> None:
    class SlowToGrow(GatedEngine):
        asked, made = threading.Event(), threading.Event()

        def narrow(self) -> Sequence[Any]:
            self.asked.set()
            assert self.made.wait(60)
            return [GatedLane(), GatedLane()]

    wide = GatedLane()
    wide.permits.release(1000)
    engine = SlowToGrow(wide)
    with batching(engine) as batcher:
        await batcher.run([text(6), text(20)], first)
        assert await asyncio.to_thread(engine.asked.wait, 60)
    engine.made.set()
    growing = [thread for thread in threading.enumerate() if thread.name == "narrow lanes"]
    await asyncio.to_thread(lambda: [thread.join(60) for thread in growing])
    await asyncio.sleep(0)  # the loop hears of them
    assert batcher._lanes.narrow == 0


async def test_a_closed_batcher_lets_its_engine_go() -> None:
    lane = GatedLane()
    lane.permits.release(1)
    there = weakref.ref(lane)
    gc.disable()  # a collection of everything may not come for hours
    try:
        with batching(lane) as batcher:
            assert await batcher.run([text(5)], first) == [5]
        del lane
        await asyncio.to_thread(eventually, lambda: there() is None)
    finally:
        gc.enable()


async def test_narrow_lanes_share_what_waits_and_all_have_some() -> None:
    wide, narrow = GatedLane(), [GatedLane() for _ in range(4)]
    for lane in (wide, *narrow):
        lane.permits.release(1000)
    with batching(wide, *narrow) as batcher:
        await batcher.run([text(6)] * 9, first)
        await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow == 4)
        await until_proven(batcher, [text(6)] * 9, Form(True, 1, 8), Form(True, 2, 8))
        for lane in (wide, *narrow):
            lane.shapes.clear()
            lane.permits = threading.Semaphore(0)
        (nine,) = await started(batcher.run([text(6)] * 9, first))
        await asyncio.to_thread(eventually, lambda: all(lane.shapes for lane in narrow))
        assert sorted(lane.shapes for lane in narrow) == [[(1, 8)], [(2, 8)], [(2, 8)], [(2, 8)]]
        for lane in (wide, *narrow):
            lane.permits.release(1000)
        assert await nine == [6] * 9


async def test_fewer_long_texts_than_lanes_get_the_wide_one() -> None:
    wide, narrow = GatedLane(), [GatedLane() for _ in range(4)]
    for lane in (wide, *narrow):
        lane.permits.release(1000)
    with batching(wide, *narrow) as batcher:
        await batcher.run([text(300)] * 8, first)
        await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow == 4)
        await until_proven(batcher, [text(300)] * 8, Form(True, 1, 320))
        await batcher.run([text(300)] * 8, first)
        assert all(lane.shapes for lane in narrow)
        for lane in (wide, *narrow):
            lane.shapes.clear()
        assert await batcher.run([text(300)] * 2, first) == [300] * 2
        assert wide.shapes == [(1, 320)] * 2
        assert not any(lane.shapes for lane in narrow)


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
    assert [batch_sizes(size) for size in (8, 32, 40, 128, 160)] == [
        (8, 4, 2, 1),
        (8, 4, 2, 1),
        (4, 2, 1),
        (2, 1),
        (1,),
    ]
    assert len(worth_warming(512)) == 16 + 8 + 4 + 2
    assert batches({8: 11, 64: 5, 512: 2}) == {
        (8, 8): 1,
        (2, 8): 1,
        (1, 8): 1,
        (4, 64): 1,
        (1, 64): 1,
        (1, 512): 2,
    }


def test_one_measurement_is_not_believed() -> None:
    costs = Costs()
    assert costs.of((1, 8)) == 0
    for seconds in (9.0, 0.01, 0.01, 7.0):  # the first use, and a process that stood still
        costs.add((1, 8), seconds)
    assert costs.of((1, 8)) == 0.01
    costs.add((4, 16), 9.0)
    assert costs.of((4, 16)) == pytest.approx(0.08)  # by its tokens
    assert costs.total({(1, 8): 2, (4, 16): 1}) == pytest.approx(0.1)


def test_a_cost_that_changed_is_learned() -> None:
    costs = Costs()
    for seconds in [0.01] * 8 + [0.03] * 5:
        costs.add((1, 8), seconds)
    assert costs.of((1, 8)) == 0.03


@pytest.fixture(scope="module")
def encoder(made: Reference) -> Model:
    return open_model(made.minilm, task="feature-extraction", head=Head.HIDDEN)


@pytest.mark.parametrize(
    "variant",
    [FP32, BF16, Variant("openvino", "int8", "f32", 128), Variant("openvino", "int8", "bf16", 128)],
    ids=lambda variant: variant.name,
)
async def test_an_answer_does_not_depend_on_what_else_is_in_flight(encoder: Model, variant: Variant) -> None:
    """The same bytes alone, and among texts of every length and order, on the real engine and its narrow lanes."""
    words = ["the", "small", "red", "house", "on", "an", "old", "hill", "near", "a", "wide", "slow", "river"]
    texts = [" ".join(words[i % 13 :: 1 + i % 3] * (1 + i % 5)) for i in range(24)]
    encoded = encoder.texts.encode([Text(item, "inputs") for item in texts], Limit(512, clip=True))
    graph = encoder.graph() if variant.precision != "int8" else encoder.graph().quantised()

    def copy(row: FloatArray, _: Encoded) -> bytes:
        return row.tobytes()

    with batching(graph.compile(variant, threads=4)) as batcher:
        alone = [(await batcher.run([item], copy))[0] for item in encoded]
        await batcher.run(encoded, copy)
        await asyncio.to_thread(eventually, lambda: batcher._lanes.narrow)
        for _ in range(2):
            assert await batcher.run(encoded, copy) == alone
            together = await asyncio.gather(*(batcher.run([item], copy) for item in reversed(encoded)))
            assert [row for (row,) in reversed(together)] == alone
