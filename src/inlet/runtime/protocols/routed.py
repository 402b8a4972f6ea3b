"""A request at a route of another protocol: the one argument of every function in `table`, with what only some models can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inlet.core.errors import InletError, Invalid
from inlet.runtime import body, info
from inlet.runtime.build.encoder import Head
from inlet.runtime.encoding import Encoding
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Serving


class Unfit(InletError):
    """A route that this kind of model does not have."""

    status = 424


class Empty(Invalid):
    """Nothing to compute, where a protocol wants something."""


@dataclass(frozen=True, slots=True)
class Routed:
    """`parts`: what stood in the path for the names in braces. Methods that name a kind of model raise `Unfit` for others."""

    served: Serving
    options: Options
    asked: Asked
    parts: Mapping[str, str]

    @property
    def name(self) -> str:
        """What clients call the model."""
        return info.name_of(self.options)

    def body(self) -> Mapping[str, Any]:
        """The JSON object that was sent."""
        return body.parse(self.asked.content, self.asked.headers)

    def encoder(self) -> Encoding:
        """What is served, if it has a tokenizer."""
        if isinstance(self.served, Encoding):
            return self.served
        raise Unfit(f"this endpoint does {self.served.task}: it has no tokenizer")

    def embedder(self) -> Encoding:
        """What is served, if it makes vectors."""
        return self._with_head(Head.HIDDEN, "it makes no embeddings")

    def classifier(self) -> Encoding:
        """What is served, if it gives texts labels."""
        return self._with_head(Head.SEQUENCE, "it is no text classifier")

    def reranker(self) -> Encoding:
        """What is served, if it says how well two texts fit: a classifier with one label."""
        served = self._with_head(Head.SEQUENCE, "it cannot rerank")
        labels = len(served.loaded.model.label_names)
        if labels != 1:
            raise Unfit(f"this model has {labels} labels: only one with a single label can rerank")
        return served

    def _with_head(self, head: Head, otherwise: str) -> Encoding:
        if isinstance(self.served, Encoding) and self.served.loaded.model.head is head:
            return self.served
        raise Unfit(f"this endpoint does {self.served.task}: {otherwise}")
