"""What a router meets in these tests, all of it real and over sockets: replicas, control, the link, raw clients."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import h11
import pytest

from inlet.core.access import Grant, Permission, Token, hash_token
from inlet.core.endpoint import State
from inlet.core.routes import Route, RouteTable, Signal, Signals, Upstream
from inlet.core.spec import Visibility
from inlet.router.service import Router
from inlet.settings import Settings
from inlet.wire import link

SECRET = "inlet_caller"
READER = "inlet_reader"
WITHIN = 60.0  # only a fault takes so long, or a machine with far too much to do
# How long the router waits for a client to read its answer, and for control. All of them live in one event loop here: when it
# stands still for some seconds, none of them was slow.
PATIENCE = (
    "server.LINGER_S",
    "upstream.CONNECT_TIMEOUT_S",
    "local.CONTROL_TIMEOUT_S",
    "signals.ANSWER_WITHIN_S",
)


async def until(condition: Callable[[], Any], *, within: float = WITHIN) -> None:
    """Wait, for a bounded time, until `condition` holds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - looked at from outside, where there is no event
            await asyncio.sleep(0.002)


def token(secret: str, *grants: Grant, **changes: Any) -> Token:
    return replace(Token(secret, secret, hash_token(secret), grants, created_at=0.0), **changes)


def route(*upstreams: Upstream, name: str = "mini", state: State = State.RUNNING, **changes: Any) -> Route:
    plain = Route(f"id-{name}", "default", name, None, Visibility.PRIVATE, state, upstreams)
    return replace(plain, **changes)


# -- servers


@dataclass
class Asked:
    """One request as an upstream got it; names in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    raw_head: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Visit:
    """One connection to an upstream, in the hands of its behaviour."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parser = h11.Connection(h11.SERVER)
        self.raw = b""  # all that came
        self.gone = asyncio.Event()  # the router closed it

    async def event(self) -> Any:
        while (event := self.parser.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(65536)
            if not data:
                self.gone.set()
            self.raw += data
            self.parser.receive_data(data)
        return event

    async def pieces(self) -> AsyncIterator[bytes]:
        while not isinstance(event := await self.event(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError
            yield bytes(event.data)

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", *, status: int = 200, extra: bytes = b"") -> None:
        await self.write(
            b"HTTP/1.1 %d Fine\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), extra, body)
        )

    async def until_gone(self) -> None:
        """Wait until the router closes the connection."""
        while await self.reader.read(65536):
            pass
        self.gone.set()

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


Behaviour = Callable[[Asked, Visit], Awaitable[None]]


async def plainly(asked: Asked, visit: Visit) -> None:
    """Echo the body."""
    await visit.answer(await visit.body() or b"ok")


@dataclass
class Server:
    """An upstream on a Unix socket; `behave` answers each request, `asked` are those that came."""

    path: Path
    behave: Behaviour = plainly
    asked: list[Asked] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._visit, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Go away like a process that is killed: connections end, and the socket refuses new ones."""
        if self._server is not None:
            self._server.close()
        for visit in self.visits:
            visit.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        visit = Visit(reader, writer)
        self.visits.append(visit)
        try:
            while isinstance(event := await visit.event(), h11.Request):
                headers = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
                asked = Asked(
                    event.method.decode(),
                    event.target.decode(),
                    headers,
                    bytes(event.headers.raw_items()[0][0]),
                )
                self.asked.append(asked)
                await self.behave(asked, visit)
                if visit.parser.their_state is not h11.DONE:
                    await visit.body()
                visit.parser = _next_cycle(visit.parser)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            visit.gone.set()
            writer.close()
            self._tasks.discard(task)

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    def upstream(self, id_: str = "") -> Upstream:
        return Upstream(id_ or self.path.name, self.address)


def _next_cycle(parser: h11.Connection) -> h11.Connection:
    fresh = h11.Connection(h11.SERVER)
    rest, _ = parser.trailing_data
    if rest:
        fresh.receive_data(rest)
    return fresh


class Link:
    """Control's end of the link: serves the table that a test publishes, collects signals."""

    def __init__(self, path: Path) -> None:
        self.reports: list[Signals] = []
        self.refusing = False  # answer 503 to everything
        self.garbage = b""
        self.polls = 0  # that were answered
        self._table: RouteTable | None = None
        self._changed = asyncio.Event()
        self._server = Server(path, self._behave)
        self._count = 0

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    async def stop(self) -> None:
        await self._server.stop()

    def publish(self, routes: tuple[Route, ...], tokens: tuple[Token, ...]) -> str:
        self._count += 1
        self.garbage = b""
        self._table = RouteTable(f"{id(self)}-{self._count}", routes, tokens)
        self._wake()
        return self._table.version

    def publish_garbage(self, garbage: bytes) -> None:
        """Answer every poll with this, until a table is published."""
        self.garbage = garbage
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def signals(self, endpoint_id: str) -> list[Signal]:
        return [
            signal
            for report in self.reports
            for signal in report.endpoints
            if signal.endpoint_id == endpoint_id
        ]

    async def _behave(self, asked: Asked, visit: Visit) -> None:
        url = urlsplit(asked.target)
        body = await visit.body()
        if self.refusing:
            await visit.answer(status=503)
        elif url.path == link.SIGNALS_PATH:
            self.reports.append(link.load_signals(body))
            await visit.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            after = parse_qs(url.query).get("after", [None])[0]
            while not self.garbage and (self._table is None or self._table.version == after):
                await self._changed.wait()
            self.polls += 1
            await visit.answer(self.garbage or link.dump_table(self._table))


# -- clients


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def json(self) -> Any:
        import orjson

        return orjson.loads(self.body)


class Raw:
    """A client that sends exactly the bytes it is told to, and reads answers with a strict parser of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rest = b""

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.writer.close()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """The next head of an answer, as it came."""
        async with asyncio.timeout(WITHIN):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer, whole; h11 reads it."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._rest:
            parser.receive_data(self._rest)
        status, headers, body = 0, [], b""
        async with asyncio.timeout(WITHIN):
            while True:
                event = parser.next_event()
                if event is h11.NEED_DATA:
                    data = await self.reader.read(65536)
                    if not data and not status:
                        raise ConnectionResetError("closed before an answer")
                    parser.receive_data(data)
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers = [(k.decode(), v.decode("latin-1")) for k, v in event.headers]
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self._rest = parser.trailing_data[0]
                    return Answer(status, headers, body)

    async def closed(self) -> bytes:
        """What comes until the router closes the connection."""
        async with asyncio.timeout(WITHIN):
            data = self._rest
            while piece := await self.reader.read(65536):
                data += piece
            return data

    def abort(self) -> None:
        self.writer.transport.abort()


def request(
    target: str = "/default/mini",
    *,
    method: str = "POST",
    body: bytes | None = None,
    secret: str | None = SECRET,
    extra: bytes = b"",
    host: bytes = b"base",
) -> bytes:
    """One well-formed request."""
    lines = [f"{method} {target} HTTP/1.1\r\n".encode(), b"host: " + host + b"\r\n"]
    if secret is not None:
        lines.append(f"authorization: Bearer {secret}\r\n".encode())
    if body is not None:
        lines.append(b"content-length: %d\r\n" % len(body))
    return b"".join([*lines, extra, b"\r\n", body or b""])


# -- all of it


class World:
    """One router with what is around it. Parts are started by the tests that need them."""

    def __init__(self, folder: Path, stack: AsyncExitStack, settings: Settings) -> None:
        self.settings = settings
        self.folder = folder
        self.link: Link
        self.control: Server
        self.router: Router
        self.port = 0
        self._stack = stack
        self.tokens: tuple[Token, ...] = (
            token(SECRET, Grant(Permission.INFER, "default")),
            token(READER, Grant(Permission.READ, "default")),
        )

    async def replica(self, name: str = "a", behave: Behaviour = plainly) -> Server:
        return await self._stack.enter_async_context(Server(self.folder / name, behave))

    async def publish(self, *routes: Route, tokens: tuple[Token, ...] | None = None) -> None:
        """Publish a table and wait until the router has it."""
        version = self.link.publish(routes, self.tokens if tokens is None else tokens)
        table = self.router.context.table
        await until(lambda: table.index is not None and table.index.version == version)

    def raw(self) -> Raw:
        return Raw(self.port)

    async def ask(self, data: bytes, method: str = "POST") -> Answer:
        """One request on a connection of its own."""
        async with self.raw() as client:
            await client.send(data)
            return await client.answer(method)

    def load(self, name: str = "mini") -> Any:
        return self.router.context.gate.loads.get(f"id-{name}")


@asynccontextmanager
async def world(*, with_link: bool = True, with_control: bool = True, **changes: Any) -> AsyncIterator[World]:
    """A router on a free port, with link and control unless told otherwise; `changes` are settings."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inlet")))
        settings = replace(Settings(home=folder, drain_seconds=5.0), **changes)
        settings.run_dir.mkdir(mode=0o700)
        here = World(folder, stack, settings)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in PATIENCE:
            patch.setattr(f"inlet.router.{name}", WITHIN)
        here.link = Link(settings.link_socket)
        here.control = Server(settings.control_socket)
        if with_link:
            await stack.enter_async_context(here.link)
        if with_control:
            await stack.enter_async_context(here.control)
        listening = socket.create_server(("127.0.0.1", 0))
        here.port = listening.getsockname()[1]
        here.router = Router(settings)
        await stack.enter_async_context(here.router.serving(listening))
        yield here
