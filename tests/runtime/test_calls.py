"""Models that are called once per request, in turn: what becomes of requests whose callers leave."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Mapping
from typing import Any

from inlet.runtime.calls import Calls
from inlet.runtime.dialect import Dialect
from inlet.runtime.metrics import Metrics
from inlet.runtime.serving import Asked


class Slow:
    """Answers once it may."""

    task = "test"

    def __init__(self) -> None:
        self.begun, self.may = threading.Event(), threading.Event()

    def warm_up(self) -> None: ...

    def answer(self, asked: Asked) -> bytes:
        self.begun.set()
        assert self.may.wait(60)
        return asked.content

    def describe(self) -> Mapping[str, Any]:
        return {}


async def test_nothing_stays_of_those_that_leave_before_their_turn() -> None:
    slow = Slow()
    calls = Calls(slow, max_wait=60, metrics=Metrics())
    loop = asyncio.get_running_loop()

    def ask(content: bytes) -> asyncio.Task[bytes]:
        async def answered() -> bytes:
            answer = await calls.answer(Asked("/", content, {}, "", Dialect.TOOLKIT, loop.time(), None))
            assert isinstance(answer.body, bytes)
            return answer.body

        return asyncio.create_task(answered())

    first = ask(b"first")
    assert await asyncio.to_thread(slow.begun.wait, 60)
    body = b"leaves" * 1_000
    held = sys.getrefcount(body)
    leave = [ask(body) for _ in range(10)]
    stays = ask(b"stays")
    await asyncio.sleep(0)
    assert sys.getrefcount(body) > held
    for task in leave:
        task.cancel()
    del task
    await asyncio.wait(leave)
    leave.clear()  # what was raised in them knows what they had
    gc.collect()
    assert sys.getrefcount(body) == held
    slow.may.set()
    assert (await first, await stays) == (b"first", b"stays")
    calls.admit(loop.time(), 0)  # nothing is in front of another one
    calls.close()
