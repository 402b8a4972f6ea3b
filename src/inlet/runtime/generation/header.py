"""What a GGUF file says about its model before the weights: as much as memory and context are planned by, and what it can do.

Called by `opening`. The format is that of ggml's `docs/gguf.md`, versions 2 and 3, little-endian. Reads no weights and keeps
no vocabulary. A file that breaks the format is `Refused`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from inlet.core.errors import Refused

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_KEYS, _MOST_ITEMS, _LONGEST = 10_000, 10_000_000, 100_000_000
_MOST_TENSORS, _MOST_DIMENSIONS = 1_000_000, 4
_LARGEST = 2**32  # of the numbers that are asked for
_KEPT_ITEMS = 4_096  # of an array: one number per layer is kept, a vocabulary is not
_KEPT_BYTES = 65_535  # of a text, as many as a key may have; of a longer one only that it is there
_OF_RANKING = ("cls.weight", "cls.output.weight")
_TEMPLATE = "tokenizer.chat_template"  # and ones for some uses, by names that begin so
_OF_REASONING = ("think", "THINK", "reason", "<|channel|>")  # words of templates
_LIKE_KEYS = 64  # heads' size of nearly all models that do not say


@dataclass(frozen=True, slots=True)
class Template:
    """That of chats. `reasons`: whether it lets the model think before it answers. `tools`: whether it has a place for tools."""

    reasons: bool
    tools: bool


@dataclass(frozen=True, slots=True)
class Header:
    """`context`: tokens that the model was trained for. `cache_bytes`: of keys and values in fp16, per token.

    `pools`: whether it says how embeddings of tokens become one of the text. `ranks`: whether it has a head for that; in a split
    model it may be in another part.
    """

    architecture: str
    context: int
    cache_bytes: int
    template: Template
    pools: bool
    ranks: bool


def read_header(file: Path) -> Header:
    """Read one file, or the first part of a split one."""
    try:
        with file.open("rb") as content:
            tensors, values = _values(content)
            return _header(values, ranks=_has_any(content, tensors, _OF_RANKING))
    except (ValueError, OverflowError) as error:
        raise Refused(f"{file.name} is not a GGUF file that can be read ({error})", field="model") from error


def _header(values: dict[str, Any], *, ranks: bool) -> Header:
    architecture = values.get("general.architecture")

    def number(key: str, default: int) -> int:
        value = values.get(f"{architecture}.{key}", default)
        return _bounded(value, _LARGEST) if isinstance(value, int) else default

    heads = number("attention.head_count", 1)
    size = number("embedding_length", heads * _LIKE_KEYS) // max(heads, 1)
    per_head = number("attention.key_length", size) + number("attention.value_length", size)
    layers = number("block_count", 0)
    shared = values.get(f"{architecture}.attention.head_count_kv")  # one number, or one per layer
    all_heads = (
        sum(_bounded(int(each), _LARGEST) for each in shared)
        if isinstance(shared, list)
        else layers * number("attention.head_count_kv", heads)
    )
    return Header(
        architecture=str(architecture),
        context=number("context_length", 0),
        cache_bytes=2 * all_heads * per_head,
        template=_template([str(text) for key, text in values.items() if key.startswith(_TEMPLATE)]),
        pools=number("pooling_type", 0) > 0,
        ranks=ranks,
    )


def _template(texts: Collection[str]) -> Template:
    unknown = "" in texts  # too long to be kept
    return Template(
        reasons=any(word in text for word in _OF_REASONING for text in texts),
        tools=unknown or any("tool" in text for text in texts),
    )


def _values(content: IO[bytes]) -> tuple[int, dict[str, Any]]:
    """How many tensors there are, and all values."""
    magic, version = _exactly(content, 4), _scalar(content, "I")
    if magic != _MAGIC or version not in _VERSIONS:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    tensors = _bounded(_scalar(content, "Q"), _MOST_TENSORS)
    keys = _bounded(_scalar(content, "Q"), _MOST_KEYS)
    return tensors, {
        _string(content, _KEPT_BYTES): _value(content, _scalar(content, "I")) for _ in range(keys)
    }


def _has_any(content: IO[bytes], tensors: int, names: Collection[str]) -> bool:
    for _ in range(tensors):
        if _string(content, _KEPT_BYTES) in names:
            return True
        dimensions = _bounded(_scalar(content, "I"), _MOST_DIMENSIONS)
        _exactly(content, 8 * dimensions + 4 + 8)  # sizes, type and place
    return False


def _value(content: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _string(content, _LONGEST)
    if kind == _ARRAY:
        kind, count = _scalar(content, "I"), _bounded(_scalar(content, "Q"), _MOST_ITEMS)
        if kind == _STRING:
            for _ in range(count):
                content.seek(_bounded(_scalar(content, "Q"), _LONGEST), 1)
            return None
        size = struct.calcsize(f"<{_code(kind)}")
        if count <= _KEPT_ITEMS:
            return list(struct.unpack(f"<{count}{_code(kind)}", _exactly(content, count * size)))
        content.seek(count * size, 1)
        return None
    return _scalar(content, _code(kind))


def _code(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"there is no type {kind}")
    return _SCALARS[kind]


def _scalar(content: IO[bytes], code: str) -> Any:
    return struct.unpack(f"<{code}", _exactly(content, struct.calcsize(f"<{code}")))[0]


def _string(content: IO[bytes], longest: int) -> str:
    size = _bounded(_scalar(content, "Q"), longest)
    if size > _KEPT_BYTES:
        content.seek(size, 1)
        return ""
    return _exactly(content, size).decode(errors="replace")


def _exactly(content: IO[bytes], size: int) -> bytes:
    found = content.read(size)
    if len(found) < size:
        raise ValueError("it ends too early")
    return found


def _bounded(count: int, most: int) -> int:
    if not 0 <= count <= most:
        raise ValueError(f"a size of {count} is not possible")
    return count
