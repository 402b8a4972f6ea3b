"""Every route of another protocol, in one table: asked by `Serving.routes`, and drawn from for the documentation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from inlet.core.errors import InletError
from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.options import Options
from inlet.runtime.protocols import openai, openinference, rerank, tei
from inlet.runtime.protocols.routed import Routed
from inlet.runtime.serving import Asked, Route, Serving

Refuse = Callable[[InletError], Answer]
_TEI, _OPENAI, _V2 = "text-embeddings-inference", "OpenAI", "Open Inference Protocol"
_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
# A model's name may be a repository's. Nothing longer: such patterns are slow on what they do not match.
_NAMED = {"name": "(?P<name>[^/]+(?:/[^/]+)?)", "version": "(?P<version>[^/]+)"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One method at one path. `path` may have names in braces."""

    method: str
    path: str
    protocol: str
    respond: Callable[[Routed], Awaitable[Answer]]
    refuse: Refuse

    @property
    def meaning(self) -> str:
        """What it does, in a sentence."""
        return (self.respond.__doc__ or "").split("\n", 1)[0]


# Of several that match a path the first counts.
ROUTES = (
    Entry("POST", "/embed", _TEI, tei.embed, tei.refuse),
    Entry("POST", "/embed_all", _TEI, tei.embed_all, tei.refuse),
    Entry("POST", "/embed_sparse", _TEI, tei.embed_sparse, tei.refuse),
    Entry("POST", "/similarity", _TEI, tei.similarity, tei.refuse),
    Entry("POST", "/rerank", f"{_TEI}, Cohere, Jina", tei.ranks, tei.refuse),
    Entry("POST", "/tokenize", _TEI, tei.tokenize, tei.refuse),
    Entry("POST", "/decode", _TEI, tei.decode, tei.refuse),
    Entry("POST", "/vertex", _TEI, tei.vertex, tei.refuse),
    Entry("POST", "/v1/embeddings", _OPENAI, openai.embeddings, openai.refuse),
    Entry("POST", "/embeddings", _OPENAI, openai.embeddings, openai.refuse),
    Entry("GET", "/v1/models", _OPENAI, openai.models, openai.refuse),
    Entry("GET", "/v1/models/{name}", _OPENAI, openai.model, openai.refuse),
    Entry("POST", "/v1/rerank", "Cohere, Jina", rerank.ranks, openai.refuse),
    Entry("GET", "/v2", _V2, openinference.server, answers.from_error),
    *(
        Entry(method, path + end, _V2, respond, answers.from_error)
        for method, end, respond in (
            ("GET", "/ready", openinference.ready),
            ("POST", "/infer", openinference.infer),
            ("GET", "", openinference.metadata),
        )
        for path in (_VERSION, _MODEL)
    ),
)


def routes_of(served: Serving, path: str, options: Options) -> Mapping[str, Route]:
    """By method, what there is at that path."""
    for pattern, entries in _BY_PATH.items():
        if match := pattern.fullmatch(path):
            parts = match.groupdict()
            return {entry.method: _route(entry, served, options, parts) for entry in entries}
    return {}


def _route(entry: Entry, served: Serving, options: Options, parts: Mapping[str, str]) -> Route:
    def respond(asked: Asked) -> Awaitable[Answer]:
        return entry.respond(Routed(served, options, asked, parts))

    return Route(respond, entry.refuse)


def _by_path() -> Mapping[re.Pattern[str], list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in ROUTES:
        found.setdefault(entry.path.format_map(_NAMED), []).append(entry)
    return {re.compile(pattern): entries for pattern, entries in found.items()}


_BY_PATH = _by_path()
