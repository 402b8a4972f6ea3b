"""Serves what a child process computes: one request at a time, in the order in which they came. Made by `starting`, asked by `app`.

A child that ends takes the one request with it that it was at; another child is started, and those that wait go on waiting as
long as they may. A request that the child surely had not read as a whole was not begun, and goes to the next one, once. A child
that takes too long with a request is told to stop, and killed if it does not. The work of a caller that has gone is stopped where
the child can do that; a call that cannot be interrupted goes on, because a restart would cost the others more, and callers could
force one by leaving. All methods are for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inlet.core.errors import InletError, Refused, TimedOut, Unavailable
from inlet.runtime import info
from inlet.runtime.admission import Queue
from inlet.runtime.answers import Answer
from inlet.runtime.expiry import expire
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Serving
from inlet.runtime.worker.frames import Message
from inlet.runtime.worker.pieces import Pieces
from inlet.runtime.worker.process import Child, Ended
from inlet.runtime.worker.program import Program, Question

PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0)
_MOST_FAILED_LOADS = 5  # in a row; then the replica has no more to offer
_STOPS_WITHIN_S = 2.0  # when its time is up
_READS_WITHIN_S = 30.0  # a piece; everybody else waits for that reader meanwhile
_INLINE_BYTES = 100_000  # a larger body takes longer to read than to hand to a thread
_log = logging.getLogger(__name__)


class ProgramError(InletError):
    """What the program itself answers a request with that it cannot serve; `status` is 400 to 599."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, eq=False)
class _Errand:
    """One request. `future` gets the reply, or a stream's first piece; `pieces` the others.

    `until`: the loop's time at which it is too late to begin. `expiry`: the timer for that, if it is to be kept.
    """

    message: Message
    future: asyncio.Future[Message]
    until: float
    expiry: asyncio.TimerHandle | None = None
    begun: bool = False
    again: bool = False  # it was sent to a child that did not read it
    gone: bool = False  # its caller
    streamed: bool = False
    pieces: Pieces = field(default_factory=Pieces)


class _Rest(AsyncGenerator[Message, None]):
    """A stream behind its first piece; who closes it has gone. No function with `yield`: closed unread, it would not notice."""

    def __init__(self, pieces: Pieces, leave: Callable[[], None]) -> None:
        self._pieces, self._leave = pieces, leave
        self._over = False

    async def asend(self, _: None) -> Message:
        piece = None if self._over else await self._pieces.take()
        if isinstance(piece, Message):
            return piece
        self._over = True
        raise StopAsyncIteration if piece is None else piece

    async def athrow(self, kind: Any, error: Any = None, _: Any = None) -> Message:
        self._over = True
        self._leave()
        raise error or kind


class Worker(Serving):
    """`max_wait`: predicted seconds of work in front of a request, above which it is refused at once.

    `pauses`: seconds before a new child, by how many in a row answered nothing.
    """

    def __init__(
        self, program: Program, *, max_wait: float, metrics: Metrics, pauses: Sequence[float] = PAUSES_S
    ) -> None:
        super().__init__()
        self._program, self._metrics, self._pauses = program, metrics, pauses
        self._loop = asyncio.get_running_loop()
        self._queue = Queue(max_wait)
        self._waiting: deque[_Errand] = deque()
        self._news = asyncio.Event()
        self._child: Child | None = None
        self._errand: _Errand | None = None  # what the child is at
        self._trouble = ""  # why there is no child
        self._fruitless = 0  # children in a row that answered nothing
        self._living: asyncio.Task[str] | None = None

    @property
    def task(self) -> str:
        return self._program.interpreter.task

    async def start(self, report: Callable[[str], None]) -> None:
        """Until the first child is ready; fails as `Child.load` does."""
        try:
            child = await self._loaded(report)
        except BaseException:
            self._program.close()
            raise
        self._living = asyncio.create_task(self._live(child))

    def admit(self, arrived: float, patience: float | None) -> None:
        self._queue.admit(self._loop.time() - arrived, patience)

    async def answer(self, asked: Asked) -> Answer:
        if self._living is None or self._living.done():
            raise Unavailable(self._trouble)
        question = await self._read(asked)
        patience = self._program.seconds if asked.patience is None else asked.patience
        errand = _Errand(question.message, self._loop.create_future(), asked.arrived + patience)
        if not self._idle:  # what finds the child idle begins at once, and is never too late
            self._keep_time(errand)
        self._count(1)
        self._waiting.append(errand)
        self._news.set()
        try:
            first = await errand.future
        except asyncio.CancelledError:
            if not errand.begun:
                self._metrics.dropped(1)
            self._leave(errand)
            raise
        finally:
            if errand.expiry is not None:
                errand.expiry.cancel()
            self._forget(errand)
        if errand.streamed:
            rest = _Rest(errand.pieces, lambda: self._leave(errand))
            return question.stream(first, rest)
        return question.answer(first)

    async def given_up(self) -> str:
        """Return when no child can be had any more, with the reason; the replica should end then."""
        if self._living is None:
            return self._trouble
        return await asyncio.shield(self._living)

    def describe(self, options: Options) -> Mapping[str, Any]:
        return {**info.of_any(options, self.task), **self._program.interpreter.describe()}

    def close(self) -> None:
        if self._living is not None:
            self._living.cancel()
        if self._child is not None:
            self._child.kill()
        self._program.close()

    async def _read(self, asked: Asked) -> Question:
        read = self._program.interpreter.question
        return await asyncio.to_thread(read, asked) if len(asked.content) > _INLINE_BYTES else read(asked)

    @property
    def _idle(self) -> bool:
        return self._child is not None and not self._queue.unfinished

    def _forget(self, errand: _Errand) -> None:
        """Of one that never began nothing stays: its body is held no longer, and nobody waits behind it."""
        if not errand.begun and errand in self._waiting:
            self._waiting.remove(errand)
            self._count(-1)

    def _leave(self, errand: _Errand) -> None:
        """Its caller waits no longer."""
        errand.gone = True
        if errand is self._errand and self._child is not None:
            self._child.tell(Message({"do": "cancel"}))
        errand.pieces.drop()  # whoever puts pieces there must not wait for room

    def _keep_time(self, errand: _Errand) -> None:
        errand.expiry = self._loop.call_at(errand.until, self._expire, errand)

    def _expire(self, errand: _Errand) -> None:
        if self._child is not None:
            expire(errand, self._metrics)
        elif not errand.future.done():
            self._metrics.expired()
            errand.future.set_exception(Unavailable(f"{self._trouble}; it is started again: try again later"))

    # The child's life

    async def _live(self, child: Child) -> str:
        """Have a child that answers, for as long as one can be had; why none can any more."""
        try:
            return await self._one_after_another(child)
        finally:
            self._child = None
            for errand in self._waiting:
                if not errand.future.done():
                    errand.future.set_exception(Unavailable(self._trouble))

    async def _one_after_another(self, child: Child) -> str:
        failed = 0
        while True:
            reason = await self._served_by(child)
            self._child, self._trouble = None, f"the {self._program.name} {reason}"
            while self._child is None:
                _log.warning("%s; starting it again", self._trouble)
                await asyncio.sleep(self._pauses[min(self._fruitless, len(self._pauses) - 1)])
                self._fruitless += 1
                try:
                    child = await self._loaded(lambda progress: _log.info("starting again: %s", progress))
                except InletError as error:
                    failed, self._trouble = failed + 1, str(error)
                    if failed == _MOST_FAILED_LOADS or isinstance(error, Refused):
                        return self._trouble
            failed = 0
            _log.info("the %s is ready again", self._program.name)

    async def _loaded(self, report: Callable[[str], None]) -> Child:
        child = await Child.start(self._program)
        try:
            await child.load(report)
        except BaseException:
            await child.end("was ended")
            raise
        self._child = child
        return child

    async def _served_by(self, child: Child) -> str:
        """Hand it what waits, until it ends; why it did."""
        gone = asyncio.create_task(child.gone())
        try:
            while not gone.done():
                if not self._waiting:
                    self._news.clear()
                    news = asyncio.create_task(self._news.wait())
                    await asyncio.wait({gone, news}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
                    continue
                errand = self._waiting.popleft()
                try:
                    if not errand.future.done():  # else its caller has gone, or waits no longer
                        await self._do(child, errand)
                except Ended as error:
                    return str(error)
                finally:
                    self._count(-1)
            return gone.result()
        finally:
            gone.cancel()
            await child.end("is not needed any more")

    async def _do(self, child: Child, errand: _Errand) -> None:
        """One request from beginning to end; `Ended` when that is the end of the child as well."""
        begin = self._loop.time()
        errand.begun, self._errand = True, errand
        limit = self._program.seconds
        try:
            try:
                async with asyncio.timeout(limit):
                    await child.send(errand.message)
                    await self._follow(child, errand)
            except TimeoutError:
                _fail(
                    errand,
                    TimedOut(f"the {self._program.name} took longer than {limit:g} s with this request"),
                )
                await self._stop(child, errand, f"took longer than {limit:g} s with a request, and was ended")
        except Ended as error:
            if error.unread and not errand.again and not errand.future.done():
                self._put_back(errand)
            else:
                words = f"{error}, while it worked on this request; it is started again"
                _fail(errand, ProgramError(f"the {self._program.name} {words}", 500))
            raise
        finally:
            self._errand = None
        self._fruitless = 0
        self._queue.took(self._loop.time() - begin)

    def _put_back(self, errand: _Errand) -> None:
        """To the head of those that wait: it was not begun, whatever had been thought."""
        errand.begun, errand.again = False, True
        if errand.expiry is not None:  # it may have passed meanwhile, unheeded
            errand.expiry.cancel()
        self._keep_time(errand)
        self._waiting.appendleft(errand)
        self._count(1)

    async def _stop(self, child: Child, errand: _Errand, reason: str) -> None:
        """Have it stop with what it is at; `Ended` for that reason if it does not."""
        errand.gone = True
        child.tell(Message({"do": "cancel"}))
        try:
            async with asyncio.timeout(_STOPS_WITHIN_S):
                await self._follow(child, errand)
        except TimeoutError:
            raise Ended(await child.end(reason)) from None

    async def _room(self, child: Child, errand: _Errand) -> None:
        """Until its reader has taken enough of the stream; one that takes nothing for long is as good as gone."""
        try:
            async with asyncio.timeout(_READS_WITHIN_S):
                await errand.pieces.room()
        except TimeoutError:
            words = f"nothing of the answer was read for {_READS_WITHIN_S:g} s, while others waited"
            _fail(errand, TimedOut(words))
            errand.gone = True
            child.tell(Message({"do": "cancel"}))

    async def _follow(self, child: Child, errand: _Errand) -> None:
        """Pass on what it says until it has said the last of it."""
        while True:
            if errand.streamed and not errand.gone:
                await self._room(child, errand)
            said = await child.hear()
            match said.head.get("kind"):
                case "piece":
                    if not errand.future.done():
                        errand.streamed = True
                        errand.future.set_result(said)
                    elif not errand.gone:
                        errand.pieces.put(said)
                case "end":
                    if not errand.future.done():  # a stream of nothing
                        errand.streamed = True
                        errand.future.set_result(Message({}))
                    if not errand.gone:
                        errand.pieces.put(None)
                    return
                case "reply" if not errand.streamed:
                    if not errand.future.done():
                        errand.future.set_result(said)
                    return
                case "error":
                    status = said.head.get("status")
                    if not isinstance(status, int) or not 400 <= status <= 599:
                        status = 500
                    _fail(errand, ProgramError(str(said.head.get("error")), status))
                    return
                case _:
                    raise Ended(await child.end("sent what is no answer, and was ended"))

    def _count(self, change: int) -> None:
        self._queue.unfinished += change
        self._metrics.waiting.set(max(0, self._queue.unfinished - 1))


def _fail(errand: _Errand, error: InletError) -> None:
    """Tell its caller, unless it has all that it asked for; of a stream it need not have read the rest first."""
    if not errand.future.done():
        errand.future.set_exception(error)
    elif errand.streamed and not errand.gone:
        errand.pieces.drop()
        errand.pieces.put(error)
