"""What came back: JSON, or an error of `core/errors.py`. Called by both clients for every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import httpx

from inlet.client.calls import Call
from inlet.core.errors import (
    Conflict,
    Forbidden,
    InletError,
    Invalid,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)

T = TypeVar("T")

_BY_STATUS: Mapping[int, type[InletError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def result(call: Call[T], response: httpx.Response) -> T:
    """What `call` reads in a good answer; raises `error_of` any other. The body must have been read."""
    if not response.is_success:
        raise error_of(response)
    try:
        return call.read(response.json())
    except (ValueError, KeyError, TypeError):
        raise InletError(
            f"{_origin(response.url)} answered something unexpected: is it the address of an Inlet?"
        ) from None


def error_of(response: httpx.Response) -> InletError:
    """The error that a status means, with the server's own sentence and the request's id."""
    message = _sentence(response)
    error: InletError
    if response.status_code == 429:
        error = TooMany(message, retry_after=_seconds(response.headers.get("retry-after")))
    else:
        error = _BY_STATUS.get(response.status_code, InletError)(message)
    error.request_id = response.headers.get("x-request-id")
    return error


def unreachable(error: httpx.RequestError, url: httpx.URL) -> Unavailable:
    """For a request that got no answer at all."""
    kind = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    words = str(error)
    return Unavailable(f"{_origin(url)} {kind}" + (f" ({words})" if words else ""))


def _sentence(response: httpx.Response) -> str:
    try:
        said = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = None
    if isinstance(said, str) and said:
        return said
    return f"{_origin(response.url)} answered {response.status_code} {response.reason_phrase}"


def _seconds(text: str | None) -> float:
    try:
        return float(text or 1.0)
    except ValueError:
        return 1.0


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
