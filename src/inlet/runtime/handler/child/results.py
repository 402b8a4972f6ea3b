"""What a handler returns, as JSON or as bytes. Used by `program`, in the handler's process.

Knows numpy, torch and Pillow by how their objects behave: none of them is imported, and none need be installed.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import io
import json
import math
import uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JSON = "application/json"
_BYTES = "application/octet-stream"
_FORMATS = {
    "image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF",
    "image/tiff": "TIFF", "image/bmp": "BMP", "image/*": "PNG",
}  # fmt: skip


def encode(result: Any, accept: str) -> tuple[str, bytes]:
    """Content type and body. `TypeError` or `ValueError` when the result cannot be written down.

    Bytes stay as they are, alone or with their content type beside them; an image is what the caller accepts.
    """
    if isinstance(result, (bytes, bytearray)):
        return _BYTES, bytes(result)
    if (
        isinstance(result, tuple)
        and len(result) == 2
        and isinstance(result[0], bytes)
        and _is_type(result[1])
    ):
        return result[1], result[0]
    if _is_image(result) and (wanted := _wanted(accept)):
        return ("image/png" if wanted == "image/*" else wanted), _image(result, _FORMATS[wanted])
    return JSON, dump(result)


def dump(value: Any) -> bytes:
    """JSON; NaN and infinities become null."""
    try:
        return _written(value)
    except (ValueError, RecursionError):  # a NaN, or something that holds itself
        pass
    try:
        return _written(_finite(value))
    except RecursionError:
        raise ValueError("the result holds itself, or is nested too deeply") from None


def _written(value: Any) -> bytes:
    text = json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """A value that JSON has no word for, in one that it has."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # arrays, tensors and their scalars
        return value.detach().tolist() if hasattr(value, "detach") else value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if _is_image(value):
        return base64.b64encode(_image(value, "PNG")).decode()
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return _finite(_plain(value))


def _is_type(text: Any) -> bool:
    return isinstance(text, str) and "/" in text and text.isascii() and text.isprintable()


def _is_image(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "save")


def _image(image: Any, form: str) -> bytes:
    content = io.BytesIO()
    (image.convert("RGB") if form in ("JPEG", "BMP") else image).save(content, form)
    return content.getvalue()


def _wanted(accept: str) -> str | None:
    """The first kind of image that the caller names, unless JSON stands before it."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind == JSON:
            return None
        if kind in _FORMATS:
            return kind
    return None
