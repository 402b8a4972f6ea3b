"""Loads that are shared, left, refused and tried again, and models that stay because somebody uses them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inlet.core.errors import InletError, Refused, TooMany
from inlet.core.models import Listed
from inlet.runtime import memory
from inlet.runtime.many import residents as module
from inlet.runtime.many.place import Place, State
from inlet.runtime.many.residents import Residents
from inlet.runtime.many.sizes import give_back
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import parse
from tests.reference import Reference

CLASSIFY, FEATURES = "text-classification", "feature-extraction"
ALONE = 200_000_000  # bytes: one copy of the 90 MB model fits into them, two do not


def a_place(folder: Path, task: str) -> Place:
    options = parse(["--model", str(folder), "--task", task, "--port", "0", "--vcpus", "1"], {})
    return Place(Listed(folder.name, str(folder), None, task), options)


@asynccontextmanager
async def living(
    *places: Place, allowed: int | None = None, pauses: Sequence[float] = (0.0,)
) -> AsyncIterator[Residents]:
    residents = Residents(places, Metrics(), allowed, pauses)
    try:
        async with asyncio.timeout(100):
            yield residents
    finally:
        residents.close()


@pytest.fixture
def passing() -> Iterator[Path]:
    """A folder for large files, which pytest would keep."""
    with tempfile.TemporaryDirectory(prefix="inlet") as name:
        yield Path(name)


async def use(residents: Residents, place: Place, patience: float | None = None) -> None:
    end = None if patience is None else asyncio.get_running_loop().time() + patience
    async with residents.using(place, end):
        assert place.served is not None


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - no part of the product tells of it
        await asyncio.sleep(0.01)


async def test_all_that_wait_share_one_load_and_one_that_leaves_does_not_end_it(made: Reference) -> None:
    place = a_place(made.model("topics"), CLASSIFY)
    async with living(place) as residents:
        first = asyncio.create_task(use(residents, place))
        await until(lambda: place.loading)
        others = [asyncio.create_task(use(residents, place)) for _ in range(5)]
        with pytest.raises(TooMany, match="was not ready within the time"):
            await use(residents, place, patience=0.0)
        first.cancel()
        await asyncio.gather(*others)
        assert first.cancelled()
        assert (place.loads, place.requests, place.state) == (1, 5, State.READY)
        assert (place.users, place.waiting) == (0, 0)


async def test_a_load_goes_on_when_nobody_waits_any_more(made: Reference) -> None:
    place = a_place(made.model("topics"), CLASSIFY)
    async with living(place) as residents:
        only = asyncio.create_task(use(residents, place))
        await until(lambda: place.loading)
        only.cancel()
        await until(lambda: place.served)
        assert (place.loads, place.requests) == (1, 0)


async def test_a_failed_load_is_told_to_all_and_tried_again_after_a_pause(
    made: Reference, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made.model("topics"), folder)
    (folder / "model.safetensors").rename(tmp_path / "weights")
    place, patient = a_place(folder, CLASSIFY), a_place(folder, CLASSIFY)
    async with living(place) as residents, living(patient, pauses=(1000.0,)) as slow:
        for found in await asyncio.gather(*(use(residents, place) for _ in range(3)), return_exceptions=True):
            assert isinstance(found, Refused)
            assert "could not be loaded: the model has no safetensors weights" in str(found)
        assert place.failure is not None
        assert place.failure.times == 1
        with pytest.raises(InletError):
            await use(residents, place)
        assert place.failure.times == 2
        with pytest.raises(InletError):
            await use(slow, patient)
        (tmp_path / "weights").rename(folder / "model.safetensors")
        await use(residents, place)
        assert (place.failure, place.state) == (None, State.READY)
        with pytest.raises(Refused, match=r"a request after \d+ s has it tried again"):
            await use(slow, patient)
        assert patient.failure is not None
        assert patient.failure.times == 1


async def test_what_a_model_raises_when_it_is_read_does_not_end_the_others(
    made: Reference, tmp_path: Path
) -> None:
    shutil.copytree(made.model("topics"), tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    broken, good = a_place(tmp_path / "model", CLASSIFY), a_place(made.model("topics"), CLASSIFY)
    async with living(broken, good) as residents:
        found = await asyncio.gather(use(residents, broken), use(residents, good), return_exceptions=True)
        assert isinstance(found[0], InletError)
        assert found[1] is None


async def test_how_many_wait_is_bounded(made: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    place = a_place(made.model("topics"), CLASSIFY)
    async with living(place) as residents:
        first = asyncio.create_task(use(residents, place))
        await until(lambda: place.loading)
        with pytest.raises(TooMany, match="1 requests wait for models to be loaded"):
            await use(residents, place)
        await first


async def test_one_in_use_stays_and_one_that_is_never_idle_leaves_at_last(
    made: Reference, passing: Path
) -> None:
    shutil.copytree(made.minilm, passing / "other")
    busy, other = a_place(made.minilm, FEATURES), a_place(passing / "other", FEATURES)
    await warm_libraries(made)
    async with living(busy, other, allowed=memory.taken() + ALONE) as residents:
        async with residents.using(busy, None):
            waiting = asyncio.create_task(use(residents, other))
            await until(lambda: busy.leaving)
            assert other.state is State.WAITING
            # From now on requests for it wait, or it would never be idle.
            behind = asyncio.create_task(use(residents, busy))
            with pytest.raises(TooMany, match="is waiting"):
                await use(residents, other, patience=0.0)
            assert busy.served is not None
            assert (busy.evictions, other.loads) == (0, 0)
        await waiting
        await behind
        assert (busy.loads, busy.evictions, other.loads, other.evictions) == (2, 1, 1, 1)
        assert other.measured
        assert other.size is not None
        assert other.size < ALONE


async def test_what_surely_does_not_fit_is_refused(made: Reference) -> None:
    place = a_place(made.minilm, FEATURES)
    await warm_libraries(made)
    async with living(place, allowed=memory.taken() + 50_000_000) as residents:
        with pytest.raises(
            Refused, match=r"needs at least \d+ MB of memory, and without any other model \d+ MB"
        ):
            await use(residents, place)


async def test_memory_comes_back(made: Reference, passing: Path) -> None:
    folders = [passing / name for name in "abc"]
    for folder in folders:
        shutil.copytree(made.minilm, folder)
    places = [a_place(folder, FEATURES) for folder in folders]
    await warm_libraries(made)
    before = memory.taken()
    async with living(*places, allowed=before + ALONE) as residents:
        for place in (*places, *places):
            await use(residents, place)
        assert memory.taken() - before < 1.5 * ALONE  # of six loads
        assert [place.loads for place in places] == [2, 2, 2]


async def warm_libraries(made: Reference) -> None:
    """What the first model brings along does not count as its own, nor what earlier tests left behind."""
    place = a_place(made.model("topics"), CLASSIFY)
    async with living(place) as residents:
        await use(residents, place)
    await asyncio.to_thread(give_back, memory.taken())
