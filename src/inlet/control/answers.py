"""Answers of the control API: how a value, an error and a stream become HTTP. The only place where errors do.

Used by every route module and installed by `control/app.py`. Every answer carries `x-request-id`; every error is
`{"error": "<one string>"}` and repeats the string in `X-Error-Message`, which official clients print.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inlet.core.errors import InletError, Invalid, TooLarge, TooMany, Unavailable
from inlet.wire.v2.shape import explain

log = structlog.get_logger()

MAX_BODY = 1_000_000
RETRY_AFTER_S = 2  # what an answer suggests when something that we need is away
_LONGEST_HEADER = 1000
_MOST_WARNINGS = 10


def answer(data: Any, *, status: int = 200, warnings: Iterable[tuple[str, str]] = ()) -> Response:
    """JSON, with one `X-HF-Warning: topic; message` for each (field, message)."""
    response = Response(orjson.dumps(data), status, media_type="application/json")
    for topic, message in list(warnings)[:_MOST_WARNINGS]:
        topic_ = _header_text(topic).replace(";", " ")
        response.headers.append("X-HF-Warning", f"{topic_}; {topic_} {_header_text(message)}")
    return response


async def json_object(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object, whatever its Content-Type says; an empty one is `{}`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"the body of a request to this API may have at most {MAX_BODY} bytes")
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"is not JSON: {error.msg} at line {error.lineno}", field="body") from None
    if not isinstance(value, dict):
        raise Invalid("must be a JSON object", field="body")
    return value


def request_id(request: Request) -> str:
    """The id that this request has in answers, logs and events."""
    return str(request.scope["inlet.request_id"])


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape of an error."""
    response = answer({"error": message}, status=status)
    response.headers.update(headers or {})
    response.headers["X-Error-Message"] = _header_text(message)
    return response


def install(app: FastAPI) -> None:
    """Make `app` answer errors, request ids and everything unexpected as this module says."""
    app.add_middleware(RequestContext)
    app.add_exception_handler(InletError, _inlet_error)
    app.add_exception_handler(RequestValidationError, _bad_query)
    app.add_exception_handler(HTTPException, _http_error)


async def _inlet_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, InletError):
        raise error
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    elif error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return error_answer(error.status, str(error), headers)


async def _bad_query(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_answer(HTTPStatus.BAD_REQUEST, explain(error.errors()))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message, headers = error.detail, error.headers
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"There is nothing at {request.method} {request.scope['path'][:200]}"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = _methods_at(request)
        message = f"{request.method} is not possible here; use {' or '.join(methods)}"
        headers = {"Allow": ", ".join(methods)}
    return error_answer(error.status_code, message, headers)


def _methods_at(request: Request) -> list[str]:
    """The methods that this path has. Each is a route of its own, of which the framework names only the first."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


class RequestContext:
    """Outermost of our ASGI layers: gives each request its id, logs it, and answers 500 for what nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        id_ = _clean_id(headers.get("x-request-id")) or _clean_id(headers.get("x-amzn-trace-id"))
        scope["inlet.request_id"] = id_ = id_ or str(uuid.uuid4())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = id_
            await send(message)

        begun = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=id_):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                # The last line of defence: a bug must cost one answer, with its story in the log and not in the answer.
                log.exception("request_crashed", method=scope["method"], path=scope["path"])
                if status:
                    raise
                problem = error_answer(
                    HTTPStatus.INTERNAL_SERVER_ERROR, f"Internal error; the server's log has it as {id_}"
                )
                await problem(scope, receive, send_with_id)
            milliseconds = round((time.perf_counter() - begun) * 1000, 1)
            log.debug("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)


def _clean_id(text: str | None) -> str | None:
    """An id that a caller sent, if it is fit for a header and a log line."""
    return text if text and len(text) <= 128 and text.isascii() and text.isprintable() else None


def _header_text(text: str) -> str:
    """Text as one header line: ASCII, without line breaks, of bounded length."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat.encode("ascii", "replace").decode()[:_LONGEST_HEADER]
