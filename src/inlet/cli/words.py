"""What people type on the command line, turned into values; and values into words. Pure.

Called by the commands. Must never do I/O: where the environment or the current folder matter, they are arguments.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from inlet.core.access import EVERYWHERE, Grant, Permission
from inlet.core.errors import Invalid

LONGEST_NAME = 32
_DEFAULT_PLACE = ("aws", "us-east-1")

# One example that shows each task at work; a task that is not here (a handler's, say) has no typical input.
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "feature-extraction": {"inputs": "What a fine day."},
    "sentence-embeddings": {"inputs": "What a fine day."},
    "sentence-similarity": {
        "inputs": {
            "source_sentence": "How do I get my money back?",
            "sentences": ["Refunds are paid within five days.", "Our office is closed on Sunday."],
        }
    },
    "text-classification": {"inputs": "I liked this film from start to end."},
    "token-classification": {"inputs": "Ada Lovelace was born in London."},
    "question-answering": {
        "inputs": {"question": "Where was she born?", "context": "Ada Lovelace was born in London."}
    },
    "zero-shot-classification": {
        "inputs": "My train was late again.",
        "parameters": {"candidate_labels": ["travel", "cooking"]},
    },
    "text-ranking": {
        "inputs": {
            "query": "How do I get my money back?",
            "texts": ["Refunds are paid within five days.", "Our office is closed on Sunday."],
        }
    },
    "table-question-answering": {
        "inputs": {"query": "How old is Ada?", "table": {"name": ["Ada", "Alan"], "age": ["36", "41"]}}
    },
    "text-generation": {"inputs": "Once upon a time"},
    "text2text-generation": {"inputs": "translate English to German: What a fine day."},
    "summarization": {"inputs": "It rained for three days. On the fourth the sun came out and all was well."},
    "translation": {"inputs": "What a fine day."},
}


@dataclass(frozen=True, slots=True)
class _Files:
    """A request whose body or answer is a file, for curl: what is behind the URL, and its flags."""

    flags: tuple[str, ...]
    query: str = ""


_IMAGE = _Files(("-H 'Content-Type: image/jpeg'", "--data-binary @image.jpg"))
_SOUND = _Files(("-H 'Content-Type: audio/flac'", "--data-binary @speech.flac"))
_TEXT = ("-H 'Content-Type: application/json'", '-d \'{"inputs": "What a fine day."}\'')
_WITH_FILES: Mapping[str, _Files] = {
    **dict.fromkeys(
        ("image-classification", "object-detection", "image-segmentation", "depth-estimation", "image-to-text"), _IMAGE
    ),
    "zero-shot-image-classification": replace(_IMAGE, query="?candidate_labels=cat,dog"),
    "visual-question-answering": replace(_IMAGE, query="?question=What+is+this%3F"),
    "image-text-to-text": replace(_IMAGE, query="?text=What+is+this%3F"),
    "automatic-speech-recognition": _SOUND,
    "audio-classification": _SOUND,
    **dict.fromkeys(("text-to-speech", "text-to-audio"), _Files((*_TEXT, "-H 'Accept: audio/wav'", "--output answer.wav"))),
    "text-to-image": _Files((*_TEXT, "-H 'Accept: image/png'", "--output answer.png")),
}  # fmt: skip


def name_for(model: str) -> str:
    """An endpoint name made of the last part of a repository or path: lower-case letters, digits, dashes."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    return (
        re.sub(r"[^a-z0-9]+", "-", last)[: LONGEST_NAME + 1].strip("-")[:LONGEST_NAME].strip("-")
        or "endpoint"
    )


def repository_of(model: str, folder: Path, home: Path) -> str:
    """`org/name` as it is; a path (begins with `/`, `.` or `~`, or is `file://…`) made absolute from `folder`."""
    if model.startswith("~"):
        return str(home / model[1:].lstrip("/"))
    if model.startswith((".", "/")):
        return str((folder / model).resolve())
    return model


def pairs(items: Iterable[str], environment: Mapping[str, str], option: str) -> dict[str, str]:
    """`K=V` items; a bare `K` takes its value from the environment, so that it need not be typed."""
    found: dict[str, str] = {}
    for item in items:
        key, has_value, value = item.partition("=")
        if not key:
            raise Invalid("must be NAME=VALUE, or NAME to take it from the environment", field=option)
        if not has_value:
            if key not in environment:
                raise Invalid(f"{key} has no value here and is not set in the environment", field=option)
            value = environment[key]
        found[key] = value
    return found


def grants(items: Sequence[str], namespace: str | None) -> tuple[Grant, ...]:
    """`infer`, `infer:acme`, `infer:acme/mini`; without a namespace, `namespace`, else everywhere."""
    return tuple(_grant(item, namespace) for item in items)


def _grant(item: str, namespace: str | None) -> Grant:
    word, placed, place = item.partition(":")
    where, narrowed, endpoint = place.partition("/")
    if (placed and not where) or (narrowed and not endpoint):
        # Half a place must not be read as a larger one: it may be a variable of a script that was empty.
        raise Invalid(
            f"{item!r} lacks a part: write {word}:namespace or {word}:namespace/endpoint",
            field="--permission",
        )
    try:
        permission = Permission(word)
    except ValueError:
        allowed = ", ".join(Permission)
        raise Invalid(f"{word!r} is none of {allowed}", field="--permission") from None
    return Grant(permission, where or namespace or EVERYWHERE, endpoint or None)


def instance(text: str, catalogue: Mapping[str, Any]) -> dict[str, str]:
    """The catalogue row that `text` names: an id, or the end of one (`x2`, `nvidia-t4-x1`, `us-east-2-intel-spr-x2`).

    `catalogue` is the hardware listing. Of several rows one in the default region wins, else the first; the words
    answered are those of `endpoint_document`.
    """
    wanted = text if "-" in text else f"intel-spr-{text}"
    rows = [
        row for row in hardware_rows(catalogue) if row["id"] == wanted or row["id"].endswith(f"-{wanted}")
    ]
    if not rows:
        raise Invalid(
            f"{text!r} is no instance of this server; `inlet hardware` lists them", field="--instance"
        )
    row = min(rows, key=lambda row: (row["vendor"], row["region"]) != _DEFAULT_PLACE)
    return {
        "vendor": row["vendor"],
        "region": row["region"],
        "accelerator": row["accelerator"],
        "instance_type": row["instanceType"],
        "instance_size": row["instanceSize"],
    }


def hardware_rows(catalogue: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hardware listing flattened, each row with its vendor and region."""
    return [
        {"vendor": vendor["name"], "region": region["name"], **row}
        for vendor in catalogue["vendors"]
        for region in vendor["regions"]
        for row in region["computes"]
    ]


def example(task: str | None) -> Mapping[str, Any] | None:
    """The body of a request that shows `task` at work."""
    return _EXAMPLES.get(task or "")


def curl(url: str, body: Mapping[str, Any], *, public: bool) -> str:
    """The same request for a shell; the token stays a variable, so that it is on no screen."""
    data = f"-d {shlex.quote(orjson.dumps(body).decode())}"
    return _curl(url, "-H 'Content-Type: application/json'", data, public=public)


def curl_with_files(url: str, task: str | None, *, public: bool) -> str | None:
    """A request for a shell that sends an image or sound, or gets one; None of other tasks."""
    found = _WITH_FILES.get(task or "")
    return None if found is None else _curl(url + found.query, *found.flags, public=public)


def _curl(url: str, *flags: str, public: bool) -> str:
    token = () if public else ('-H "Authorization: Bearer $TOKEN"',)
    return " \\\n  ".join((f"curl {shlex.quote(url)}", *token, *flags))


def shortened(value: Any, limit: int = 300) -> str:
    """JSON in one line, long lists of numbers cut: for a glance, not for a parser."""
    text = orjson.dumps(_cut(value)).decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _cut(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        numbers = all(isinstance(item, (int, float)) for item in value)
        if numbers and len(value) > 8:
            return [*map(_cut, value[:4]), f"… {len(value)} numbers"]
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    return value


def monthly(
    price_per_hour: float | None, least: float | None, most: float | None, fewest: int, largest: int
) -> str:
    """What a month costs at list price, as one phrase."""
    if price_per_hour is None or least is None or most is None:
        return "unknown: the instance has no price"
    range_ = f"${most:.2f}" if least == most else f"${least:.2f} to ${most:.2f}"
    count = f"{largest}" if fewest == largest else f"{fewest} to {largest}"
    return f"{range_} per month ({count} x ${price_per_hour:g} per hour, 730 hours)"
