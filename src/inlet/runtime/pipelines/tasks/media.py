"""Images and sound in a request: raw bytes, base64 strings and data URIs, as blobs. Pure; used by the readers of inputs.

Nothing is ever fetched or opened: a URL or a path in a request is refused. What the bytes are is found out in the worker.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind
from inlet.runtime.pipelines.call import reference

_URL = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:/|/[^+=]{0,200}\.[a-z0-9]{2,5}\s*$)", re.IGNORECASE)
_DATA_URI = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")


class Blobs:
    """The blobs of one call, in the order in which its inputs refer to them."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def add(self, value: Any, field: str) -> dict[str, Any]:
        """The reference that takes the place of `value`: bytes of the body, or a string that holds some."""
        content = value if isinstance(value, bytes) else _decoded(value, field)
        if not content:
            raise Invalid("it is empty", field=field)
        self.contents.append(content)
        return reference(len(self.contents) - 1)


def _decoded(value: Any, field: str) -> bytes:
    if not isinstance(value, str):
        raise Invalid(f"expected a base64 string or a data URI, got {kind(value)}", field=field)
    if uri := _DATA_URI.match(value):
        if not uri[1].lower().endswith(";base64"):
            raise Invalid("a data URI must be base64: data:image/png;base64,…", field=field)
        value = value[uri.end() :]
    elif _URL.match(value):
        raise Invalid(
            "URLs and paths are not opened: requests must not make this server fetch things; send the bytes themselves as "
            "base64, or as the request's body",
            field=field,
        )
    try:
        return base64.b64decode(value.translate(_SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"not valid base64 ({str(error).lower()})", field=field) from None
