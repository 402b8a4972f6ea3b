"""From a JSON object to a validated shape, and the sentences that say what was wrong with it.

Called by `parse` and, for its other bodies and queries, by `control/`. An error never repeats a value from below
`env`, `secrets` or `credentials`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from inlet.core.errors import Invalid
from inlet.wire.v2 import documents
from inlet.wire.v2.documents import Part

_P = TypeVar("_P", bound=BaseModel)
_MAX_DEPTH = 32
_SHOWN_ERRORS = 3
_PRIVATE = frozenset({"env", "secrets", "credentials", "token"})
# What a client may send back from an answer: neither stored nor worth a warning.
_READ_ONLY = frozenset({"status", "healthRoute", "inlet", "name", "compute.id"})

_PATTERNS = {
    documents.NAME_PATTERN: "must be 1 to 32 lower-case letters, digits and '-', beginning and ending with a letter "
    "or digit",
    documents.ENV_NAME_PATTERN: "is not a name for an environment variable: letters, digits, '_', '.' and '-', "
    "not beginning with a digit",
    documents.REVISION_PATTERN: "must be a branch, tag or commit",
    documents.ONE_LINE_PATTERN: "must be one line without control characters",
    r"^/": "must begin with '/'",
}
_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a field here; check its spelling",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "enum": lambda c: f"must be one of {_plain(c['expected'])}",
    "literal_error": lambda c: f"must be one of {_plain(c['expected'])}",
    "greater_than": lambda c: f"must be more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be {c['ge']:g} or more",
    "less_than_equal": lambda c: f"must be {c['le']:g} or less",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "too_long": lambda c: f"must have at most {c['max_length']} items",
    "too_short": lambda _: "must not be empty",
    "string_pattern_mismatch": lambda c: _PATTERNS.get(c["pattern"], f"must match {c['pattern']}"),
}


def validate(model: type[_P], data: Any) -> _P:
    """`data` as a `model`; `Invalid` says for each offending field (the first few) what was wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        sentence = explain(error.errors(include_url=False))
    # Raised out here so that the rejected values, which pydantic's error holds, are not chained to it.
    raise Invalid(sentence)


def explain(errors: Sequence[Mapping[str, Any]]) -> str:
    """The errors of pydantic as one sentence of dotted paths."""
    sentences = [_explain(error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        sentences.append(f"and {len(errors) - _SHOWN_ERRORS} more")
    return "; ".join(sentences)


def _explain(error: Mapping[str, Any]) -> str:
    place = [str(part) for part in error["loc"] if part != "[key]"]
    sentence = _SENTENCES.get(error["type"])
    words = sentence(error.get("ctx", {})) if sentence else str(error["msg"])
    value = error.get("input")
    if (
        error["type"] not in ("missing", "extra_forbidden")
        and not _PRIVATE.intersection(place)
        and isinstance(value, str | int | float | bool | None)
    ):
        words += f", not {_short(value)}"
    return f"{'.'.join(_short_name(part) for part in place) or 'body'}: {words}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _short_name(part: str) -> str:
    return part if len(part) <= 64 else part[:61] + "…"


def _plain(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")


def check_text(value: Any) -> None:
    """`Invalid` when JSON is nested absurdly deep or holds a NUL, which no process, file or database can carry."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if "\0" in item:
                    raise Invalid("strings must not contain the character NUL", field="body")
            elif isinstance(item, Mapping):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise Invalid(f"is nested more than {_MAX_DEPTH} levels deep", field="body")


def known(part: Part, path: str = "") -> tuple[dict[str, Any], list[str]]:
    """The fields of a shape that were sent and are known, as JSON; and the dotted paths of those that are not."""
    fields = type(part).model_fields
    document: dict[str, Any] = {}
    unknown = [f"{path}{key}" for key in part.model_extra or {} if f"{path}{key}" not in _READ_ONLY]
    for name in fields:
        if name not in part.model_fields_set:
            continue
        alias = fields[name].alias or name
        value = getattr(part, name)
        if isinstance(value, Part):
            value, below = known(value, f"{path}{alias}.")
            unknown += below
        document[alias] = value
    return document, unknown


def no_such(field: str, value: str, choices: Iterable[str], what: str) -> Invalid:
    """The error for a name that is not in a list, with the list."""
    return Invalid(f"knows no {what} {_short(value)}; there are: {', '.join(choices)}", field=field)
