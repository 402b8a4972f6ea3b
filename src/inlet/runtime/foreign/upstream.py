"""Requests to a program that is kept up: how many at once, who waits how long, and the exchange itself.

Asked by `serving` and by `generation/`. Keeps the rules of every replica: what is in hand is bounded, a request waits no
longer than its patience, and one whose caller leaves is closed at the program as well. Never sends a request twice,
unless the program cannot have seen it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from inlet.core.errors import InletError, Invalid, TooMany
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.supervisor import Supervisor
from inlet.runtime.metrics import Metrics
from inlet.runtime.serving import Asked

LONGEST_WAIT_S = 60.0
"""How long a request without a patience of its own may wait until it is sent."""

_CONNECT_TIMEOUT_S = 10.0
_AGAIN_S = 0.05  # after a refused connection: its end is noticed by then
_ANY_BYTES = "latin-1"  # in which every header can be read and written
_TIMEOUT = httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S).as_dict()  # an answer may take as long as it likes
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip


class BadGateway(InletError):
    """The program did not answer as HTTP demands, or ended before it did."""

    status = 502


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of an answer, and its body as it comes. Whoever gets one reads it to the end or closes `pieces`."""

    status: int
    headers: httpx.Headers
    pieces: AsyncGenerator[bytes, None]

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces])


class Upstream:
    """A program behind bounds: `at_once` requests are sent, `in_hand` are sent or wait, and what is more is refused."""

    def __init__(self, program: Program, *, at_once: int, in_hand: int, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = Supervisor(program)
        self._name = program.name
        self._turns, self._at_once = asyncio.Semaphore(at_once), at_once
        self._most, self._metrics = in_hand, metrics
        self._in_hand = 0

    async def start(self, tell: Callable[[str], None]) -> None:
        """Return when the program answers; fails as `Supervisor.start` does."""
        await self._supervisor.start(tell)

    @property
    def away(self) -> str | None:
        """Why no program answers now, None when one does."""
        return self._supervisor.trouble

    async def given_up(self) -> str:
        """Return when none will answer any more, with the reason."""
        return await self._supervisor.given_up()

    def close(self) -> None:
        self._supervisor.close()

    def admit(self) -> None:
        """`TooMany` if there is no room for one more request."""
        if self._in_hand >= self._most:
            raise TooMany(
                f"overloaded: {self._in_hand} requests are in hand, the most that this replica takes; try again later",
                retry_after=1.0,
            )

    async def ask(
        self,
        asked: Asked,
        method: str,
        target: str,
        *,
        content: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        in_turn: bool = True,
    ) -> Reply:
        """Send a request on behalf of `asked`; `in_turn` unless it costs the program nothing.

        `TooMany` when its turn has not come within its patience, `Unavailable` when the program is not back by then,
        `BadGateway` when it ends in between.
        """
        patience = LONGEST_WAIT_S if asked.patience is None else asked.patience
        until = asked.arrived + patience
        async with AsyncExitStack() as held:
            if in_turn:
                await held.enter_async_context(self._turn(until))
            response = await self._sent(method, target, content, list(headers), until)
            held.push_async_callback(response.aclose)
            pieces = self._pieces(response, held.pop_all())
        await anext(pieces)  # begun: from now on closing it gives everything back
        return Reply(response.status_code, response.headers, pieces)

    @asynccontextmanager
    async def _turn(self, until: float) -> AsyncIterator[None]:
        self.admit()
        self._in_hand += 1
        self._count()
        try:
            try:
                async with asyncio.timeout_at(until if self._turns.locked() else None):
                    await self._turns.acquire()
            except TimeoutError:
                self._metrics.expired()
                raise TooMany(
                    "overloaded: not begun within the time that the request allows; try again later",
                    retry_after=1.0,
                ) from None
            except asyncio.CancelledError:
                self._metrics.dropped(1)
                raise
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._in_hand -= 1
            self._count()

    def _count(self) -> None:
        self._metrics.waiting.set(max(0, self._in_hand - self._at_once))

    async def _sent(
        self, method: str, target: str, content: bytes, headers: list[tuple[str, str]], until: float
    ) -> httpx.Response:
        """The answer, of which only the head was read."""
        while True:
            run = await self._supervisor.run(until)
            try:
                request = httpx.Request(
                    method,
                    run.origin + target,
                    headers=httpx.Headers(headers, encoding=_ANY_BYTES),
                    content=content,
                    extensions={"timeout": _TIMEOUT},
                )
                response = await run.transport.handle_async_request(request)
            except httpx.InvalidURL as error:
                raise Invalid(f"the program cannot be asked at this address: {error}") from error
            except (httpx.ConnectError, httpx.ConnectTimeout):
                # It ended and was not missed yet. Nothing was sent, so nothing is done twice.
                await asyncio.sleep(_AGAIN_S)
            except httpx.TransportError as error:
                raise self._broken(error) from error
            else:
                response.headers.encoding = _ANY_BYTES
                return response

    async def _pieces(self, response: httpx.Response, held: AsyncExitStack) -> AsyncGenerator[bytes, None]:
        async with held:
            yield b""
            assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous transport made it
            try:
                async for piece in response.stream:
                    yield piece
            except httpx.TransportError as error:
                raise self._broken(error) from error

    def _broken(self, error: httpx.TransportError) -> BadGateway:
        return BadGateway(f"{self._name} ended or broke off before it had answered ({type(error).__name__})")


def passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without those that concern one connection only (RFC 9110, 7.6.1)."""
    pairs = [(name.lower(), value) for name, value in headers]
    named = {
        part.strip().lower() for name, value in pairs if name == "connection" for part in value.split(",")
    }
    return [(name, value) for name, value in pairs if name not in _HOP_BY_HOP and name not in named]
