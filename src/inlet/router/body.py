"""Where a message's body ends: one small decoder per framing of HTTP/1.1, used for requests and answers alike.

httptools parses heads; it does not tell where in a buffer a message ended, which a proxy must know to the byte, so the
three framings are here. Each is fed bytes as they come and returns `(payload, rest)`; `done` says whether the body is
complete, and only then can `rest` be non-empty. Must never buffer payload.

Stricter than RFC 9112 asks: a chunk's size is 1 to 16 hexadecimal digits with no space around it, every line ends with
CR LF, an extension is `;name`, `;name=value` or `;name="value"` without a backslash, a trailer is a header field that
frames nothing. Extensions and trailers are bounded and dropped.
"""

from __future__ import annotations

import re
from typing import Protocol

MAX_CHUNK_LINE = 256
MAX_EXTENSIONS = 16 * 1024  # all extensions of one body together
MAX_TRAILERS = 8 * 1024

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EXTENSION = rb";%b(?:=(?:%b|\"[\t !#-\[\]-~]*\"))?" % (_TOKEN, _TOKEN)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:%b)*)\r\n" % _EXTENSION)
_FIELD = re.compile(rb"(?!(?i:content-length|transfer-encoding):)%b:[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN)


class BadFraming(ValueError):
    """The bytes are not a chunked body."""


class Decoder(Protocol):
    """One body being read."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]: ...


class Length:
    """Exactly `left` bytes."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data)
        if size < self.left:
            self.left -= size
            return data, b""
        left, self.left, self.done = self.left, 0, True
        return (data, b"") if size == left else (data[:left], data[left:])


class UntilClose:
    """An answer that ends with its connection: never `done` by itself."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class Chunked:
    """Chunks, then trailers (dropped), then an empty line."""

    __slots__ = ("_extensions", "_left", "_line", "_state", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # payload bytes of the present chunk still to come
        self._line = b""  # an unfinished line
        self._state = "size"  # "size", "data", "end" (the CR LF after a chunk), "trailer"
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while position < size and not self.done:
            if self._state == "data":
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "end"
                continue
            newline = data.find(b"\n", position)
            end = size if newline < 0 else newline + 1
            line = self._line + data[position:end] if self._line else data[position:end]
            position = end
            if len(line) > (MAX_TRAILERS if self._state == "trailer" else MAX_CHUNK_LINE):
                raise BadFraming("a line between two chunks is too long")
            if newline < 0:
                self._line = line
            else:
                self._line = b""
                self._end_of_line(line)
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return payload, data[position:]

    def _end_of_line(self, line: bytes) -> None:
        if self._state == "size":
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadFraming("a chunk's size is not a hexadecimal number on a line of its own")
            self._extensions += len(match[2])
            if self._extensions > MAX_EXTENSIONS:
                raise BadFraming("too many chunk extensions")
            self._left = int(match[1], 16)
            self._state = "data" if self._left else "trailer"
        elif self._state == "end":
            if line != b"\r\n":
                raise BadFraming("a chunk is longer than its size")
            self._state = "size"
        elif line == b"\r\n":
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS or _FIELD.fullmatch(line) is None:
                raise BadFraming("the trailers are too long, or not header fields")


def chunk(data: bytes) -> bytes:
    """`data` as one chunk; empty data gives nothing, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"
