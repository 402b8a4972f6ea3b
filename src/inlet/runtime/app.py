"""The replica's HTTP interface: a plain ASGI application.

`GET /`, `/health`, `/ping`, `/v2/health/…`, `/info`, `/metrics`; `POST /`, `/predict`, `/invocations`, `/pipeline/{task}`; and whatever other protocols
the served model has routes for. Served by uvicorn under `serve`. Never does model work on the event loop, and drops a
request's work when its caller hangs up.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import ExitStack, aclosing
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from inlet.core.errors import InletError, Invalid
from inlet.runtime import answers, body
from inlet.runtime.answers import Answer
from inlet.runtime.body import MAX_BODY_BYTES, Receive
from inlet.runtime.metrics import CONTENT_TYPE, Metrics
from inlet.runtime.native import is_native, routes_of
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase, Replica
from inlet.runtime.room import Room
from inlet.runtime.serving import Asked, Route

Scope = MutableMapping[str, Any]
T = TypeVar("T")
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_BYTES = 64_000_000  # of bodies in hand, waiting to be read or computed
_GONE = 499  # the status, in our own metrics only, of a request whose caller did not wait for the answer
_log = logging.getLogger(__name__)


class App:
    """The application of one replica."""

    def __init__(self, options: Options, replica: Replica, metrics: Metrics) -> None:
        self._options, self._replica, self._metrics = options, replica, metrics
        self._bodies = Room(MOST_BYTES, "bytes")
        self._gets: Mapping[str, Callable[[], Answer]] = {
            "/": self._health,
            "/health": self._health,
            "/ping": self._health,
            "/info": self._info,
            "/v2/health/live": lambda: answers.ok({"live": True}),
            "/v2/health/ready": self._health,
            "/metrics": lambda: Answer(200, self._metrics.render(), CONTENT_TYPE),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        routes, gets = self._routes(path), path in self._gets
        if route := routes.get(method):
            await self._infer(scope, receive, send, route.refuse)
        elif gets and method in ("GET", "HEAD"):
            await self._send(send, self._gets[path](), receive)
        elif allowed := [*(["GET", "HEAD"] if gets else []), *routes]:
            headers = {"allow": ", ".join(allowed)}
            await self._send(
                send, answers.refusal(405, f"{method} is not possible here", headers=headers), receive
            )
        elif self._replica.served is None:  # which may have a route there
            await self._send(send, self._not_ready(), receive)
        else:
            await self._send(send, answers.refusal(404, f"there is nothing at {path}"), receive)

    def _routes(self, path: str) -> Mapping[str, Route]:
        served = self._replica.served
        if served is not None:
            return routes_of(served, path, self._options)
        return {"POST": Route(self._starting)} if is_native(path) else {}

    async def _starting(self, _: Asked) -> Answer:
        return self._not_ready()

    def _health(self) -> Answer:
        if self._replica.phase is not Phase.READY:
            return self._not_ready()
        if self._replica.served is not None and (reason := self._replica.served.away):
            return _refused_for_now(reason, Phase.INITIALIZING)
        return Answer(200, b"Ok", "text/plain; charset=utf-8")

    def _info(self) -> Answer:
        served = self._replica.served
        return self._not_ready() if served is None else answers.ok(served.describe(self._options))

    def _not_ready(self) -> Answer:
        phase, progress = self._replica.phase, self._replica.progress
        message = "this replica is ending" if phase is Phase.TERMINATING else f"not ready yet: {progress}"
        return _refused_for_now(message, phase)

    async def _infer(
        self, scope: Scope, receive: Receive, send: Send, refuse: Callable[[InletError], Answer]
    ) -> None:
        """Compute and send the answer to a request; nothing is sent when its caller has gone."""
        begin = perf_counter()
        status = _GONE
        self._metrics.in_flight.inc()
        try:
            with self._replica.request(), ExitStack() as held:
                answer = await self._answered(scope, receive, held, refuse)
                await self._send(send, answer, receive)
                status = answer.status
        except body.Disconnected:
            pass
        except InletError as error:
            status = 500  # what was sent already says something else; the server closes the connection
            _log.warning("an answer broke off: %s", error)
        except Exception:
            status = 500  # what was sent already says something else, and breaks off
            raise
        finally:
            self._metrics.in_flight.dec()
            self._metrics.answered(status, perf_counter() - begin)

    async def _answered(
        self, scope: Scope, receive: Receive, held: ExitStack, refuse: Callable[[InletError], Answer]
    ) -> Answer:
        """The answer, be it a refusal. `held` gets what must be kept until it is sent."""
        try:
            return await self._computed(scope, receive, held)
        except InletError as error:
            return refuse(error)
        except MemoryError:
            self._replica.out_of_memory.set()
            return answers.refusal(503, "the replica ran out of memory and is restarting")
        except body.Disconnected:
            raise
        except Exception:  # noqa: BLE001 - the last resort of the process: the caller gets an answer, the log gets the cause
            _log.exception("a request failed")
            return answers.refusal(500, "the model failed on this request; the replica's log has the cause")

    async def _computed(self, scope: Scope, receive: Receive, held: ExitStack) -> Answer:
        begin = perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        served = self._replica.served
        content = await body.read(
            receive, headers, MAX_BODY_BYTES if served is None else served.max_body_bytes
        )
        arrived = asyncio.get_running_loop().time()  # as a whole: a slow sender does not wait for us
        patience = _patience(headers.get("x-inlet-timeout"))
        served = self._replica.served  # which may have changed meanwhile
        route = self._routes(scope["path"]).get(scope["method"])
        if served is None or route is None:
            return self._not_ready()
        if scope["method"] != "GET":  # which computes nothing
            served.admit(arrived, patience)  # before anything is spent on a request that will be refused
        query = scope["query_string"].decode("latin-1")
        asked = Asked(scope["path"], content, headers, query, self._options.dialect, arrived, patience)
        held.enter_context(self._bodies.taken(len(content)))
        held.enter_context(served.used())
        answer = await _unless_gone(route.respond(asked), receive)
        seconds = f"{perf_counter() - begin:.4f}"
        return replace(answer, headers={"x-compute-type": "cpu", "x-compute-time": seconds, **answer.headers})

    async def _send(self, send: Send, answer: Answer, receive: Receive) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()),
        ]
        if isinstance(answer.body, bytes):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        if self._replica.draining:
            headers += [(b"connection", b"close"), (b"x-inlet-draining", b"1")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(answer.body, bytes):
            await send({"type": "http.response.body", "body": answer.body})
        else:
            await _unless_gone(_send_pieces(answer.body, send), receive)


def _refused_for_now(message: str, phase: Phase) -> Answer:
    return answers.refusal(503, message, headers={"retry-after": "1"}, state=phase)


async def _send_pieces(pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    """As they come. One that fails ends the connection, so that nobody takes what was sent for the whole."""
    async with aclosing(pieces):
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _patience(header: str | None) -> float | None:
    """Seconds within which the caller wants the work to begin; None for as long as the replica allows."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise Invalid("send a number of seconds, 0 or more", field="X-Inlet-Timeout")
    return seconds


async def _unless_gone(computation: Awaitable[T], receive: Receive) -> T:
    """The result; `Disconnected` (and the computation cancelled) if the caller hangs up first."""
    # In this very task: another one for the computation would cost each request two more turns of the loop.
    computing = asyncio.current_task()
    gone = asyncio.ensure_future(receive())
    hung_up = False

    def hang_up(_: object) -> None:
        nonlocal hung_up
        if computing is not None:
            hung_up = computing.cancel()

    gone.add_done_callback(hang_up)
    try:
        return await computation
    except asyncio.CancelledError:
        if hung_up:
            raise body.Disconnected from None
        raise
    finally:
        computing = None
        gone.cancel()
