"""The texts by which variants are judged: our own corpus, and samples that a person brings. Called by the build.

The corpus (`corpus.json`) was written for this purpose and for nothing else, so no model was trained on it. Its groups
are about one thing each, in several languages and tones: neighbours among vectors then mean something.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from inlet.core.errors import Invalid
from inlet.runtime.texts import Text

MAX_SAMPLES = 1_000
MAX_BYTES = 10_000_000  # of a file of samples
_JOINED = 24  # texts longer than those in the file
_CHARACTERS = (300, 1_800)  # from the shortest to the longest of them but one
_PAIRS = (("text", "text_pair"), ("question", "context"))
_LONGEST = 6_000  # more than most models take: it shows what happens at their maximum


def corpus() -> list[Text]:
    """About 300 texts of 1 to some 1,500 tokens, half of them below 30; always the same ones in the same order."""
    groups: Sequence[Mapping[str, Any]] = json.loads(files(__package__).joinpath("corpus.json").read_bytes())
    short = [text for group in groups for text in group["texts"]]
    topics = [group["texts"] for group in groups[:-1]]  # the last group has no topic
    first, last = _CHARACTERS
    wanted = [round(first * (last / first) ** (step / (_JOINED - 2))) for step in range(_JOINED - 1)]
    long = [_joined(topics, start, size) for start, size in enumerate((*wanted, _LONGEST))]
    return [Text(text, f"corpus[{index}]") for index, text in enumerate((*short, *long))]


def _joined(topics: Sequence[Sequence[str]], start: int, characters: int) -> str:
    """Texts of one topic in a row, and of the next ones, until there are so many characters."""
    parts: list[str] = []
    for text in chain.from_iterable((*topics[start:], *topics[:start])):
        if sum(map(len, parts)) >= characters:
            break
        parts.append(text)
    return " ".join(parts)


def read_samples(path: Path) -> list[Text]:
    """A person's own texts, one a line: as they are in a `.txt` file, as requests (`{"inputs": …}`) in a `.jsonl` file.

    Empty lines are skipped. `inputs` is a string, a list of strings, `{"text": …, "text_pair": …}` or
    `{"question": …, "context": …}`; other fields of a request are ignored. `Invalid` names the line.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise Invalid(
            f"{path.name}: samples are a .txt file (a text a line) or a .jsonl file (a request a line)"
        )
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Invalid(f"{path.name} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise Invalid(f"{path.name} has more than {MAX_BYTES} bytes; take fewer samples, drawn at random")
    found: list[Text] = []
    for number, line in enumerate(raw.splitlines(), start=1):
        found += _line(line.strip(), f"{path.name}, line {number}", requests=path.suffix == ".jsonl")
        if len(found) > MAX_SAMPLES:
            raise Invalid(f"{path.name} has more than {MAX_SAMPLES} texts; take fewer, drawn at random")
    if not found:
        raise Invalid(f"{path.name} has no texts")
    return found


def set_name(path: Path) -> str:
    """What a file of samples is called among the verdicts: files of one name in several places are different sets."""
    return f"{path.name} ({hashlib.sha256(path.read_bytes()).hexdigest()[:8]})"


def _line(raw: bytes, field: str, *, requests: bool) -> Iterator[Text]:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid("not UTF-8", field=field) from error
    if not line:
        return
    if not requests:
        yield Text(line, field)
        return
    try:
        request = orjson.loads(line)  # as the endpoint reads it: half of a character is none
    except ValueError as error:
        raise Invalid(f"not JSON: {error}", field=field) from error
    inputs = request.get("inputs") if isinstance(request, dict) else None
    for item in inputs if isinstance(inputs, list) else [inputs]:
        yield _text(item, field)


def _text(value: Any, field: str) -> Text:
    if isinstance(value, str):
        return Text(value, field)
    if isinstance(value, dict):
        for names in _PAIRS:
            first, second = map(value.get, names)
            if isinstance(first, str) and isinstance(second, str):
                return Text(first, field, second)
    raise Invalid(
        'expected {"inputs": …} with a string, a list of strings, or {"text": string, "text_pair": string} '
        'or {"question": string, "context": string}',
        field=field,
    )
