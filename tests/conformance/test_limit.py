"""The limit of a database call holds against a driver that takes one cancellation as a wish."""

import asyncio
import time

import pytest

from inlet.store.limit import limit


class Driver:
    """Waits on after the first cancellation, as psycopg does for a server that hangs."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def call(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise


@pytest.mark.parametrize("stalls", [False, True], ids=["in time", "after the process stood still"])
async def test_one_that_hangs_is_cancelled_twice(stalls: bool) -> None:
    driver = Driver()

    async def work() -> None:
        async with limit(0.1):
            if stalls:
                asyncio.get_running_loop().call_soon(time.sleep, 1)
            await driver.call()

    async with asyncio.timeout(60) as too_late:
        with pytest.raises(TimeoutError):
            await work()
    assert not too_late.expired()
    assert driver.cancelled == 2


async def test_nothing_of_it_is_left_behind() -> None:
    loop, over, told = asyncio.get_running_loop(), asyncio.Event(), list[object]()
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with limit(0.01):
        pass
    loop.call_later(0.02, over.set)  # after whatever was to come at the limit
    await over.wait()
    assert told == []
