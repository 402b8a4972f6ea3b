"""One item of a request's inputs, per kind of task: from every spelling in use to the one form that the worker reads.

Each reader takes a JSON value (or the body's own bytes), the field that it stands in, and the call's blobs. `Invalid` and
`TooLarge` name the part that is wrong. Pure; used by the table in `tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime.dialect import kind
from inlet.runtime.pipelines.tasks.media import Blobs
from inlet.runtime.tasks.base import MAX_CHARACTERS

MAX_CELLS = 10_000  # of one table
MAX_WORDS = 5_000  # of one document
MAX_MESSAGES = 1_000  # of one conversation
MAX_IMAGES = 16  # of one item
Item = Callable[[Any, str, Blobs], Any]
_COORDINATES = 1_000  # boxes are in thousandths of the page


def text(value: Any, field: str, _: Blobs | None = None) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Invalid(f"expected a string, got {kind(value)}", field=field)
    if len(value) > MAX_CHARACTERS:
        raise TooLarge(f"{len(value)} characters, more than {MAX_CHARACTERS}; split the text", field=field)
    return value


def some_text(value: Any, field: str, _: Blobs | None = None) -> str:
    """A string that says something."""
    if not text(value, field).strip():
        raise Invalid("it is empty", field=field)
    return str(value)


def text_or_pair(value: Any, field: str, _: Blobs) -> Any:
    """A string, or `{"text", "text_pair"}`."""
    if isinstance(value, Mapping):
        return {name: text(value.get(name), f"{field}.{name}") for name in ("text", "text_pair")}
    return text(value, field)


def sequence(value: Any, field: str, _: Blobs) -> str:
    """A string, also as `{"text"}` or `{"sequences"}`."""
    for name in ("text", "sequences"):
        if isinstance(value, Mapping) and name in value:
            return some_text(value[name], f"{field}.{name}")
    return some_text(value, field)


def prompt(value: Any, field: str, blobs: Blobs) -> Any:
    """A string, or a conversation: `{"role", "content"}` of texts."""
    return _messages(value, field, blobs, images=False) if isinstance(value, list) else text(value, field)


def is_conversation(value: Any) -> bool:
    """Whether a list is one conversation rather than several items."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, Mapping) and "role" in item for item in value)
    )


def image(value: Any, field: str, blobs: Blobs) -> Any:
    """An image, also as `{"image"}`."""
    if isinstance(value, Mapping):
        return blobs.add(value.get("image"), f"{field}.image")
    return blobs.add(value, field)


def audio(value: Any, field: str, blobs: Blobs) -> Any:
    """A recording, also as `{"audio"}`."""
    if isinstance(value, Mapping):
        if "raw" in value:
            raise Invalid(
                "send the recording as a file (WAV, FLAC, MP3, …), not as a list of samples", field=field
            )
        return blobs.add(value.get("audio"), f"{field}.audio")
    return blobs.add(value, field)


def image_question(value: Any, field: str, blobs: Blobs) -> Any:
    """`{"image", "question"}`."""
    parts = _parts(value, field, '{"image": base64, "question": string}')
    return {
        "image": blobs.add(parts.get("image"), f"{field}.image"),
        "question": some_text(parts.get("question"), f"{field}.question"),
    }


def document_question(value: Any, field: str, blobs: Blobs) -> Any:
    """`{"image", "question", "word_boxes"?}`; a word with its box is `[word, [left, top, right, bottom]]`."""
    item = image_question(value, field, blobs)
    words = value.get("word_boxes")
    if words is None:
        return item
    field = f"{field}.word_boxes"
    if not isinstance(words, list):
        raise Invalid(
            f"expected a list of [word, [left, top, right, bottom]], got {kind(words)}", field=field
        )
    if not 0 < len(words) <= MAX_WORDS:
        raise TooLarge(f"{len(words)} words; send 1 to {MAX_WORDS}", field=field)
    return {**item, "word_boxes": [_word(word, f"{field}[{index}]") for index, word in enumerate(words)]}


def _word(value: Any, field: str) -> list[Any]:
    if not (isinstance(value, list) and len(value) == 2):
        raise Invalid("expected [word, [left, top, right, bottom]]", field=field)
    word, box = value
    if not (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in box)
        and all(0 <= edge <= _COORDINATES for edge in box)
        and box[0] <= box[2]
        and box[1] <= box[3]
    ):
        raise Invalid(
            f"expected left, top, right and bottom, each from 0 to {_COORDINATES} (thousandths of the page)",
            field=f"{field}[1]",
        )
    return [text(word, f"{field}[0]"), [int(edge) for edge in box]]


def question_context(value: Any, field: str, _: Blobs) -> Any:
    """`{"question", "context"}`."""
    parts = _parts(value, field, '{"question": string, "context": string}')
    return {name: some_text(parts.get(name), f"{field}.{name}") for name in ("question", "context")}


def table_question(value: Any, field: str, _: Blobs) -> Any:
    """`{"query", "table"}`, the former also as "question"; the table as columns of equal length."""
    parts = _parts(value, field, '{"query": string, "table": {column: [strings]}}')
    name = "query" if "query" in parts else "question"
    return {
        "query": some_text(parts.get(name), f"{field}.{name}"),
        "table": _table(parts.get("table"), f"{field}.table"),
    }


def _table(value: Any, field: str) -> dict[str, list[str]]:
    if not isinstance(value, Mapping) or not value:
        raise Invalid(f"expected {{column: [strings], …}}, got {kind(value)}", field=field)
    for name, cells in value.items():
        if not isinstance(cells, list):
            raise Invalid(f"expected a list of strings, got {kind(cells)}", field=f"{field}.{name}")
    lengths = {len(cells) for cells in value.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise Invalid("every column must have the same number of cells, and at least one", field=field)
    if (cells_in_all := lengths.pop() * len(value)) > MAX_CELLS:
        raise TooLarge(f"{cells_in_all} cells, more than {MAX_CELLS}; send a part of the table", field=field)
    return {
        name: [_cell(cell, f"{field}.{name}[{row}]") for row, cell in enumerate(cells)]
        for name, cells in value.items()
    }


def _cell(value: Any, field: str) -> str:
    return (
        str(value) if isinstance(value, int | float) and not isinstance(value, bool) else text(value, field)
    )


def images_text(value: Any, field: str, blobs: Blobs) -> Any:
    """`{"images" or "image", "text"}`, or a conversation whose contents may have images; also as `{"messages"}`."""
    if isinstance(value, Mapping) and "messages" in value:
        value, field = value["messages"], f"{field}.messages"
    if isinstance(value, list):
        return _messages(value, field, blobs, images=True)
    parts = _parts(value, field, '{"images": [base64, …], "text": string}')
    name = "images" if "images" in parts else "image"
    images = parts.get(name)
    listed = images if isinstance(images, list) else [images]
    if not 0 < len(listed) <= MAX_IMAGES:
        raise TooLarge(f"{len(listed)} images; send 1 to {MAX_IMAGES}", field=f"{field}.{name}")
    return {
        "images": [
            blobs.add(item, f"{field}.{name}[{index}]" if listed is images else f"{field}.{name}")
            for index, item in enumerate(listed)
        ],
        "text": text(parts.get("text", ""), f"{field}.text"),
    }


def _messages(value: list[Any], field: str, blobs: Blobs, *, images: bool) -> list[dict[str, Any]]:
    if not 0 < len(value) <= MAX_MESSAGES:
        raise TooLarge(f"{len(value)} messages; send 1 to {MAX_MESSAGES}", field=field)
    return [
        _message(message, f"{field}[{index}]", blobs, images=images) for index, message in enumerate(value)
    ]


def _message(value: Any, field: str, blobs: Blobs, *, images: bool) -> dict[str, Any]:
    parts = _parts(value, field, '{"role": string, "content": string}')
    role, content = some_text(parts.get("role"), f"{field}.role"), parts.get("content")
    if isinstance(content, list):
        content = [
            _part(part, f"{field}.content[{index}]", blobs, images=images)
            for index, part in enumerate(content)
        ]
        if not images:
            content = "".join(part["text"] for part in content)
    else:
        content = text(content, f"{field}.content")
    return {"role": role, "content": content}


def _part(value: Any, field: str, blobs: Blobs, *, images: bool) -> dict[str, Any]:
    parts = _parts(value, field, '{"type": "text", "text": string}')
    if parts.get("type") == "text":
        return {"type": "text", "text": text(parts.get("text"), f"{field}.text")}
    if not images:
        raise Invalid('this model reads text only: expected {"type": "text"}', field=f"{field}.type")
    if parts.get("type") not in ("image", "image_url"):
        raise Invalid('expected "text", "image" or "image_url"', field=f"{field}.type")
    if len(blobs.contents) >= MAX_IMAGES:
        raise TooLarge(f"more than {MAX_IMAGES} images in one request", field=field)
    name = next((name for name in ("image_url", "image", "url", "base64") if name in parts), "image")
    source = parts.get(name)
    if isinstance(source, Mapping):
        source, name = source.get("url"), f"{name}.url"
    return {"type": "image", "image": blobs.add(source, f"{field}.{name}")}


def _parts(value: Any, field: str, expected: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid(f"expected {expected}, got {kind(value)}", field=field)
    return value
