"""What a task is to the rest of the replica: it turns a request into texts, and rows of numbers into an answer.

`app` calls `Task.plan` (on the loop: cheap and pure), `Work.encode` (on the loop or in a thread), `Work.reduce` (in a
lane's thread, once per encoded text) and `Work.answer` (on the loop, or in a thread when it is large). A task never
sees HTTP, and never sees other requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime.dialect import Request, kind
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.texts import Encoded, Text

MAX_CHARACTERS = 1_000_000  # in one text; even the longest inputs of models end far below
MAX_TEXTS = 10_000  # in one request; an empty one still takes a kilobyte and a place in the queue
MAX_PAIRED_CHARACTERS = (
    10_000_000  # of all pairs that a request makes of its texts: each is tokenized by itself
)


@dataclass(frozen=True, slots=True)
class Work:
    """One request, planned. `reduce` gets a view of the engine's output without padding and must copy what it keeps."""

    texts: Sequence[Text]
    encode: Callable[[], list[Encoded]]
    reduce: Callable[[FloatArray, Encoded], Any]
    answer: Callable[[list[Any]], Any]


class Task(Protocol):
    """One task on one model."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the parameters that it takes."""

    @property
    def inputs_at_root(self) -> tuple[str, ...]:
        """Parts of `inputs` that old clients send beside it."""

    def plan(self, request: Request) -> Work:
        """What to compute; `Invalid` names the field that is wrong."""


def read_texts(inputs: Any, *, pairs: bool = False, field: str = "inputs") -> tuple[list[Text], bool]:
    """The texts in `inputs`, and whether it was a single one rather than a list."""
    if isinstance(inputs, list):
        if len(inputs) > MAX_TEXTS:
            raise TooLarge(
                f"{len(inputs)} texts, more than {MAX_TEXTS}; send them in several requests", field=field
            )
        return [_text(item, f"{field}[{index}]", pairs=pairs) for index, item in enumerate(inputs)], False
    return [_text(inputs, field, pairs=pairs, listed=True)], True


def check_pairs(count: int, characters: int, field: str) -> None:
    """`TooLarge` if a request makes too many pairs of its texts, or of texts that are too long; ask before making them."""
    if count > MAX_TEXTS:
        raise TooLarge(
            f"{count} pairs of texts, more than {MAX_TEXTS}; send them in several requests", field=field
        )
    if characters > MAX_PAIRED_CHARACTERS:
        raise TooLarge(
            f"the pairs of texts would have {characters} characters, more than {MAX_PAIRED_CHARACTERS}; send them in "
            "several requests",
            field=field,
        )


def _text(value: Any, field: str, *, pairs: bool, listed: bool = False) -> Text:
    if isinstance(value, str):
        return Text(_checked(value, field), field)
    if pairs and isinstance(value, dict):
        for name in ("text", "text_pair"):
            if not isinstance(value.get(name), str):
                raise Invalid(f"expected a string, got {kind(value.get(name))}", field=f"{field}.{name}")
        first, second = (_checked(value[name], f"{field}.{name}") for name in ("text", "text_pair"))
        return Text(first, field, second)
    expected = "a string or a list of strings" if listed else "a string"
    raise Invalid(f"expected {expected}, got {kind(value)}", field=field)


def _checked(text: str, field: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"{len(text)} characters, more than {MAX_CHARACTERS}; split the text", field=field)
    return text
