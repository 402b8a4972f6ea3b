"""The replica's HTTP interface: a plain ASGI application.

`GET /`, `/health`, `/info`, `/metrics`; `POST /`, `/predict`, `/pipeline/{task}`. Served by uvicorn under `serve`. Never
does model work on the event loop, and drops a request's work when its caller hangs up.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from inlet.core.errors import InletError, Invalid, NotFound
from inlet.runtime import answers, body
from inlet.runtime.answers import Answer
from inlet.runtime.body import Receive
from inlet.runtime.metrics import CONTENT_TYPE, Metrics
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase, Replica
from inlet.runtime.room import Room
from inlet.runtime.serving import Asked, Computed, Serving

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_BYTES = 64_000_000  # of bodies in hand, waiting to be read or computed
_log = logging.getLogger(__name__)


class App:
    """The application of one replica."""

    def __init__(self, options: Options, replica: Replica, metrics: Metrics) -> None:
        self._options, self._replica, self._metrics = options, replica, metrics
        self._bodies = Room(MOST_BYTES, "bytes")
        self._gets: Mapping[str, Callable[[], Answer]] = {
            "/": self._health,
            "/health": self._health,
            "/info": self._info,
            "/metrics": lambda: Answer(200, self._metrics.render(), CONTENT_TYPE),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        posted = path in ("/", "/predict") or path.startswith("/pipeline/")
        if method == "POST" and posted:
            with self._replica.request():
                answer = await self._post(scope, receive)
                if answer is not None:
                    await self._send(send, answer)
            return
        allowed = [*(["GET", "HEAD"] if path in self._gets else []), *(["POST"] if posted else [])]
        if method in allowed:
            await self._send(send, self._gets[path]())
        elif allowed:
            headers = {"allow": ", ".join(allowed)}
            await self._send(send, answers.refusal(405, f"{method} is not possible here", headers=headers))
        else:
            await self._send(send, answers.refusal(404, f"there is nothing at {path}"))

    def _health(self) -> Answer:
        if self._replica.phase is not Phase.READY:
            return self._not_ready()
        return Answer(200, b"Ok", "text/plain; charset=utf-8")

    def _info(self) -> Answer:
        served = self._replica.served
        return self._not_ready() if served is None else answers.ok(served.describe(self._options))

    def _not_ready(self) -> Answer:
        phase, progress = self._replica.phase, self._replica.progress
        message = "this replica is ending" if phase is Phase.TERMINATING else f"not ready yet: {progress}"
        return answers.refusal(503, message, headers={"retry-after": "1"}, state=phase)

    async def _post(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to an inference request; None when its caller has gone."""
        begin = perf_counter()
        self._metrics.in_flight.inc()
        try:
            answer = await self._predict(scope, receive, begin)
        except body.Disconnected:
            self._metrics.answered(499, perf_counter() - begin)
            return None
        except InletError as error:
            answer = answers.from_error(error)
        except MemoryError:
            self._replica.out_of_memory.set()
            answer = answers.refusal(503, "the replica ran out of memory and is restarting")
        except Exception:  # noqa: BLE001 - the last resort of the process: the caller gets an answer, the log gets the cause
            _log.exception("a request failed")
            answer = answers.refusal(500, "the model failed on this request; the replica's log has the cause")
        finally:
            self._metrics.in_flight.dec()
        self._metrics.answered(answer.status, perf_counter() - begin)
        return answer

    async def _predict(self, scope: Scope, receive: Receive, begin: float) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        content = await body.read(receive, headers)
        arrived = asyncio.get_running_loop().time()  # as a whole: a slow sender does not wait for us
        patience = _patience(headers.get("x-inlet-timeout"))
        served = self._replica.served
        if served is None:
            return self._not_ready()
        served.admit(arrived, patience)  # before anything is spent on a request that will be refused
        _check_route(scope["path"], served)
        asked = Asked(content, headers, scope["query_string"].decode("latin-1"), self._options.dialect)
        with self._bodies.taken(len(content)), served.used():
            computed = await _unless_gone(served.answer(asked, arrived, patience), receive)
        return Answer(
            200,
            computed.payload,
            headers={
                "x-compute-type": "cpu",
                "x-compute-time": f"{perf_counter() - begin:.4f}",  # seconds
                **computed.headers,
            },
        )

    async def _send(self, send: Send, answer: Answer) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()),
        ]
        if self._replica.draining:
            headers += [(b"connection", b"close"), (b"x-inlet-draining", b"1")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


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


def _check_route(path: str, served: Serving) -> None:
    if path.startswith("/pipeline/"):
        from inlet.runtime.tasks import canonical

        wanted = path.removeprefix("/pipeline/")
        if canonical(wanted) != served.task:
            raise NotFound(f"this endpoint does {served.task}, not {wanted!r}")


async def _unless_gone(computation: Awaitable[Computed], receive: Receive) -> Computed:
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
