"""The smallest image and recording that every model takes, in base64: what a warm-up asks about. Pure."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib


def _png(side: int) -> bytes:
    """A grey square, `side` pixels wide."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)  # 8 bits, grey
    rows = (b"\0" + b"\x7f" * side) * side  # each row begins with its filter
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _wav(seconds: float) -> bytes:
    """Silence."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * int(16_000 * seconds)))
    return written.getvalue()


PICTURE = base64.b64encode(_png(64)).decode()
SOUND = base64.b64encode(_wav(1)).decode()
