"""Routes by which people watch an endpoint: its changes, its replicas and their logs.

Mounted by `control/app.py`. Reads from the backend only; streams end when the caller goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import orjson
import structlog
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from inlet.backends.base import LogLine, Watched
from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.openapi import BEARER
from inlet.control.operations import Operations
from inlet.control.views import Views
from inlet.core.endpoint import Endpoint
from inlet.core.errors import InletError, NotFound
from inlet.wire.v2 import logs, schema
from inlet.wire.v2.render import render_replica

log = structlog.get_logger()

_REPLICAS: dict[int | str, dict[str, Any]] = {200: {"model": schema.ReplicaList}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
_ENTRIES: dict[int | str, dict[str, Any]] = {200: {"model": list[schema.LogEntry]}}

_LOOK_EVERY_S = 1.0
_SILENT_LOOKS = 15  # then a comment is sent, so that nothing on the way takes the connection for dead

Tail = Annotated[int | None, Query(ge=0, le=100_000)]
Longest = Annotated[int | None, Query(ge=1)]
Limit = Annotated[int, Query(ge=1, le=logs.MAX_LIMIT)]
Level = Literal["debug", "info", "warning", "error", "critical"] | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """The query that all v3 log routes share, as it was sent: it is judged only once the caller may read the log."""

    replica: str | None = None
    level: Level = None
    search: str | None = None
    since: str | None = None
    until: str | None = None
    after: str | None = None
    before: str | None = None
    line_max_length: Longest = None

    def filter(self) -> logs.Filter:
        """What is asked for; `Invalid` for a time or a cursor that is none."""
        return logs.Filter(
            level=self.level,
            search=self.search,
            since=None if self.since is None else logs.read_time(self.since, field="since"),
            until=None if self.until is None else logs.read_time(self.until, field="until"),
            after=None if self.after is None else logs.read_position(self.after, field="after"),
            before=None if self.before is None else logs.read_position(self.before, field="before"),
        )


Asked = Annotated[_Asked, Depends()]


def routes(
    *, guard: Guard, operations: Operations, views: Views, backend: Watched, public_url: str
) -> APIRouter:
    """The routes, over these parts; `public_url` is the origin that links begin with."""
    router = APIRouter(dependencies=[BEARER], tags=["observability"])

    async def found(request: Request, namespace: str, name: str) -> Endpoint:
        return await operations.find(await guard(request), namespace, name)

    async def changes(request: Request, endpoint: Endpoint) -> AsyncIterator[str]:
        """The endpoint object, now and when it has changed, until there is no such endpoint or the token ends."""
        told, looks = "", 0
        while True:
            try:
                now = await found(request, endpoint.namespace, endpoint.name)
            except NotFound:
                return
            if now.id != endpoint.id:
                return
            document = orjson.dumps(await views.describe(now)).decode()
            if document != told:
                told, looks = document, 0
                yield _event(document)
            elif (looks := looks + 1) % _SILENT_LOOKS == 0:
                yield ":\n\n"
            await asyncio.sleep(_LOOK_EVERY_S)

    @router.get("/v2/endpoint/{namespace}/{name}/sse", responses=_EVENTS)
    async def follow_endpoint(request: Request, namespace: str, name: str) -> Response:
        """The endpoint as server-sent events: as it is, then whenever it has changed (once a second at most)."""
        endpoint = await found(request, namespace, name)
        return await _stream(changes(request, endpoint), "text/event-stream", wait=False)

    @router.get("/v2/endpoint/{namespace}/{name}/replica", responses=_REPLICAS)
    async def list_replicas(request: Request, namespace: str, name: str) -> Response:
        """Every replica with its stage, newest revision first."""
        endpoint = await found(request, namespace, name)
        serving = None if endpoint.serving is None else endpoint.serving.number
        items = [
            render_replica(replica, s.revision, updating=s.revision != serving)
            for s in await views.replica_sets(endpoint)
            for replica in s.replicas
        ]
        return answer({"items": items})

    @router.get("/v2/endpoint/{namespace}/{name}/logs", responses=_TEXT)
    async def read_logs(
        request: Request,
        namespace: str,
        name: str,
        *,
        replica: str | None = None,
        tail: Tail = None,
        follow: bool = False,
        line_max_length: Longest = None,
    ) -> Response:
        """The output of one replica, or of all of them, as text; with `follow` it goes on as it comes."""
        endpoint = await found(request, namespace, name)
        return await text_of(
            backend, endpoint, replica=replica, tail=tail, follow=follow, longest=line_max_length
        )

    @router.get("/v2/endpoint/{namespace}/{name}/logs/sse", responses=_EVENTS)
    async def follow_logs(
        request: Request,
        namespace: str,
        name: str,
        *,
        replica: str | None = None,
        tail: Tail = None,
        line_max_length: Longest = None,
    ) -> Response:
        """The same as server-sent events, as it comes."""
        endpoint = await found(request, namespace, name)
        lines = backend.logs(endpoint.id, replica_id=replica, tail=tail, follow=True)
        events = (_event(logs.cut(line.line, line_max_length)) async for line in _closing(lines))
        return await _stream(events, "text/event-stream", wait=False)

    base = "/v3/endpoint/{namespace}/{name}/logs"

    @router.get(base, responses=_ENTRIES)
    async def query_logs(
        request: Request,
        namespace: str,
        name: str,
        asked: Asked,
        order: Literal["asc", "desc"] = "desc",
        limit: Limit = logs.DEFAULT_LIMIT,
    ) -> Response:
        """The newest lines (`order=asc`: the oldest) that match, oldest first; `Link` leads to the others."""
        endpoint = await found(request, namespace, name)
        wanted = asked.filter()
        lines = backend.logs(endpoint.id, replica_id=asked.replica, tail=None, follow=False)
        # From a cursor the lines next to it are read, whatever the order of the first page was.
        by_order = (wanted.after is None) == (wanted.before is None)
        newest = order == "desc" if by_order else wanted.before is not None
        page = await logs.page(_closing(lines), wanted, limit=limit, newest=newest)
        response = answer([logs.render_entry(line, longest=asked.line_max_length) for _, line in page.lines])
        query = {key: value for key, value in request.query_params.items() if key not in ("after", "before")}
        links = _links(f"{public_url}{base.format(namespace=namespace, name=name)}", query, page)
        response.headers["Link"] = ", ".join(links)
        return response

    @router.get(f"{base}/download", responses=_TEXT)
    async def download_logs(
        request: Request,
        namespace: str,
        name: str,
        asked: Asked,
    ) -> Response:
        """Every line that matches, as a text file."""
        endpoint = await found(request, namespace, name)
        lines = _matching(backend, endpoint, asked.replica, asked.filter(), follow=False)
        text = (logs.render_line(line, longest=asked.line_max_length) async for line in lines)
        response = await _stream(text, "text/plain; charset=utf-8", wait=True)
        response.headers["Content-Disposition"] = f'attachment; filename="{namespace}-{name}.log"'
        return response

    @router.get(f"{base}/sse", responses=_EVENTS)
    async def stream_logs(
        request: Request,
        namespace: str,
        name: str,
        asked: Asked,
    ) -> Response:
        """Every line that matches, one JSON entry an event, as it comes."""
        endpoint = await found(request, namespace, name)
        lines = _matching(backend, endpoint, asked.replica, asked.filter(), follow=True)
        events = (
            _event(orjson.dumps(logs.render_entry(line, longest=asked.line_max_length)).decode())
            async for line in lines
        )
        return await _stream(events, "text/event-stream", wait=False)

    return router


async def text_of(
    backend: Watched,
    endpoint: Endpoint,
    *,
    replica: str | None = None,
    tail: int | None = None,
    follow: bool = False,
    longest: int | None = None,
) -> StreamingResponse:
    """The output of one replica, or of all of them, as plain text of lines with at most `longest` characters."""
    lines = backend.logs(endpoint.id, replica_id=replica, tail=tail, follow=follow)
    text = (logs.cut(line.line, longest) + "\n" async for line in _closing(lines))
    return await _stream(text, "text/plain; charset=utf-8", wait=not follow)


def _matching(
    backend: Watched, endpoint: Endpoint, replica: str | None, wanted: logs.Filter, *, follow: bool
) -> AsyncIterator[logs.Line]:
    # Asked for at once and not with the first line: what is refused must be so before the answer begins.
    lines = backend.logs(endpoint.id, replica_id=replica, tail=None, follow=follow)
    return (line async for position, line in logs.positioned(_closing(lines)) if wanted.takes(line, position))


async def _closing(lines: AsyncIterator[LogLine]) -> AsyncIterator[LogLine]:
    """The same lines; whatever the backend holds open for them is closed when the reader goes away."""
    try:
        async for line in lines:
            yield line
    finally:
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()


async def _stream(chunks: AsyncIterator[str], media_type: str, *, wait: bool) -> StreamingResponse:
    """A streamed answer. With `wait` the first chunk is awaited, so that a failure still becomes a proper error."""
    first: list[str] = []
    if wait:
        with contextlib.suppress(StopAsyncIteration):
            first.append(await anext(chunks))

    async def body() -> AsyncIterator[str]:
        for chunk in first:
            yield chunk
        try:
            async for chunk in chunks:
                yield chunk
        except InletError as error:
            # The status is long sent: all that can be done is to end the stream and say so in our own log.
            log.warning("stream_ended", error=str(error))

    return StreamingResponse(body(), media_type=media_type, headers={"Cache-Control": "no-store"})


def _event(data: str) -> str:
    return "".join(f"data: {part}\n" for part in data.splitlines() or [""]) + "\n"


def _links(url: str, query: dict[str, str], page: logs.Page) -> list[str]:
    def link(address: str, rel: str, **more: str) -> str:
        text = urlencode({**query, **more})
        return f'<{address}{"?" if text else ""}{text}>; rel="{rel}"'

    if not page.lines:
        return [link(f"{url}/sse", "next_sse")]
    first, last = logs.write_position(page.lines[0][0]), logs.write_position(page.lines[-1][0])
    links = []
    if page.newer:
        links.append(link(url, "next", after=last))
    if page.older:
        links.append(link(url, "prev", before=first))
    return [*links, link(f"{url}/sse", "next_sse", after=last)]
