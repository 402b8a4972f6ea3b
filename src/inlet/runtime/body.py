"""A request's body as a JSON object: size limit, content type, character set. Used by `app`; knows no task."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email.message import Message
from functools import lru_cache
from typing import Any

import orjson

from inlet.core.errors import InletError, Invalid, TooLarge
from inlet.runtime.dialect import kind

# Bytes of a refused body that are read and forgotten: to close on a caller that still sends would lose the refusal.
_MOST_FORGOTTEN = 100_000_000
MAX_BODY_BYTES = 10_000_000  # tokens take some thirty times the memory of their text
_OUT_OF_MEMORY = "Not enough memory"  # orjson has one kind of error for all that keeps it from an answer
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# What clients send when they do not say what they send; then the first character decides.
_UNSAID = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
_LONGEST_TYPE = 256  # characters; parsing takes time quadratic in them
# Python decodes these too, but they are no character sets, and the first two take quadratic time.
_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape"})


class UnsupportedMediaType(InletError):
    """A body of a kind that this task does not take."""

    status = 415


class Endless(TooLarge):
    """A body too large even to be read and forgotten: the connection must end."""


class Disconnected(Exception):
    """The caller has gone."""


async def read(receive: Receive, headers: Mapping[str, str], limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body; refuses one of more than `limit` bytes before it is stored.

    What is left of it then is read and forgotten: by the server when its length is known, else here.
    """
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        over = not message.get("more_body", False)
        if size > limit:
            parts.clear()
            if over or size > _MOST_FORGOTTEN:
                raise _too_large(size, limit)
            continue
        parts.append(part)
        if over:
            return b"".join(parts)


def parse(body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """The JSON object in a body; `Invalid` or `UnsupportedMediaType` says what is wrong with it.

    `MemoryError` when there is not enough to read it.
    """
    _check_encoding(headers)
    content_type, charset = _content_type(headers.get("content-type", ""))
    if content_type in _UNSAID:
        if not body.lstrip().startswith(b"{"):
            raise UnsupportedMediaType("the body is not JSON; send a JSON object as application/json")
    elif content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaType(f"content type {content_type!r} is not supported; send application/json")
    try:
        value = orjson.loads(_utf8(body, charset))
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(_OUT_OF_MEMORY):
            raise MemoryError(error.msg) from error
        raise Invalid(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid(f'the body must be a JSON object like {{"inputs": …}}, not {kind(value)}')
    return value


def csv_text(body: bytes, headers: Mapping[str, str]) -> str | None:
    """The text of a body that is sent as `text/csv`, None of any other; refuses what cannot be decoded."""
    content_type, charset = _content_type(headers.get("content-type", ""))
    if content_type != "text/csv":
        return None
    _check_encoding(headers)
    text = _utf8(body, charset)
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeError as error:
        raise Invalid("the body is not valid utf-8") from error


def _check_encoding(headers: Mapping[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"content-encoding {encoding!r} is not supported; send the body as it is")


@lru_cache(maxsize=64)  # callers send few different ones, over and over
def _content_type(header: str) -> tuple[str, str]:
    """Type and character set, in lower case; both empty when not said."""
    if not header.strip():
        return "", ""
    if len(header) > _LONGEST_TYPE:
        raise UnsupportedMediaType(f"the content type is longer than {_LONGEST_TYPE} characters")
    message = Message()
    message["content-type"] = header
    return header.split(";", 1)[0].strip().lower(), str(message.get_param("charset", "")).strip().lower()


def _utf8(body: bytes, charset: str) -> bytes | str:
    if charset in ("", "utf-8", "utf8"):
        return body
    try:
        if codecs.lookup(charset).name.replace("-", "_") in _NOT_CHARSETS:
            raise LookupError(charset)
        return body.decode(charset)
    except LookupError as error:
        raise UnsupportedMediaType(f"character set {charset!r} is not known; send UTF-8") from error
    except UnicodeError as error:
        raise Invalid(f"the body is not valid {charset}") from error


def _too_large(size: int, limit: int) -> TooLarge:
    error = Endless if size > _MOST_FORGOTTEN else TooLarge
    return error(f"the body is larger than {limit} bytes; send less in one request")
