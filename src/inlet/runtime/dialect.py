"""Whose spelling a request uses and its answer must use, and the one form in which tasks get requests.

Two generations of clients disagree on the shape of answers: `toolkit` is what scripts written against the stock
container expect, `api` what the client libraries expect. Pure functions; used by `app`, obeyed by `tasks/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from inlet.core.errors import Invalid
from inlet.core.flags import is_on

_CLIENTS = re.compile(r"(hf_hub|@huggingface/inference)/(\d{1,9}(?:\.\d{1,9}){0,4})")


class Dialect(StrEnum):
    """How answers are shaped."""

    TOOLKIT = "toolkit"
    API = "api"


class Shape(StrEnum):
    """What one client library expects in some of its versions, and nobody else."""

    LABEL_LIST = "zero-shot-classification answers one text with a list of labels"
    ONE_CAPTION = "image-to-text answers one image with an object instead of a list"


_EVER_AFTER = (math.inf,)
# In which versions of which library: from the first on, before the second.
_EXPECTED_BY: tuple[tuple[Shape, str, tuple[int, ...], tuple[float, ...]], ...] = (
    (Shape.LABEL_LIST, "hf_hub", (1, 1, 7), _EVER_AFTER),
    (Shape.ONE_CAPTION, "hf_hub", (0, 22), (0, 24)),
    (Shape.ONE_CAPTION, "@huggingface/inference", (4, 13, 15), _EVER_AFTER),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request in one spelling. `inputs` is never None; `parameters` may still hold unknown names.

    `shapes`: those of `Shape` that this caller expects.
    """

    inputs: Any
    parameters: Mapping[str, Any]
    dialect: Dialect
    shapes: frozenset[Shape] = frozenset()


def default_dialect(environ: Mapping[str, str]) -> Dialect:
    """The endpoint's own setting (`API_INFERENCE_COMPAT`)."""
    wanted = is_on(environ.get("API_INFERENCE_COMPAT", ""))
    return Dialect.API if wanted else Dialect.TOOLKIT


def dialect_of(user_agent: str, default: Dialect) -> Dialect:
    """The client libraries name themselves and get their own shapes; anybody else gets the endpoint's default."""
    return Dialect.API if _CLIENTS.search(user_agent) else default


def shapes_of(user_agent: str) -> frozenset[Shape]:
    """The shapes of its own that this caller expects."""
    found = _CLIENTS.search(user_agent)
    if found is None:
        return frozenset()
    library, version = found[1], tuple(map(int, found[2].split(".")))
    return frozenset(
        shape for shape, name, since, before in _EXPECTED_BY if name == library and since <= version < before
    )


def normalise(
    body: Mapping[str, Any],
    *,
    known: Collection[str],
    inputs_at_root: Collection[str],
    query: Mapping[str, str],
    dialect: Dialect,
    shapes: frozenset[Shape] = frozenset(),
) -> Request:
    """One form from all the spellings in use.

    `known`: the task's parameters, also accepted beside `inputs`. `inputs_at_root`: fields that old clients put beside
    `inputs` instead of into it. `query`: the URL's query, which stands in for absent parameters.
    """
    parameters = body.get("parameters")
    if parameters is None:
        parameters = {name: _from_query(value) for name, value in query.items()}
    if not isinstance(parameters, Mapping):
        raise Invalid(f"expected an object, got {kind(parameters)}", field="parameters")
    beside = {name: body[name] for name in known if name in body}
    inputs = body.get("inputs")
    if inputs is None:
        inputs = {name: body[name] for name in inputs_at_root if name in body} or None
    if inputs is None:
        raise Invalid('missing; send {"inputs": …}', field="inputs")
    return Request(inputs, {**beside, **parameters}, dialect, shapes)


def kind(value: Any) -> str:
    """What a JSON value is, in words for an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _from_query(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text
