"""The shapes that text-classification answers in, whatever computes the scores. Used by its two implementations.

`toolkit`: `[L]`, or `[L, …]` with `top_k`; lists give one item per text. `api`: always lists of lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.engines.base import Array
from inlet.runtime.tasks.parameters import Parameters

_API_TOP_K = 5  # what the client libraries expect when they ask for nothing
SHAPE_PARAMETERS = frozenset({"top_k", "return_all_scores"})


@dataclass(frozen=True, slots=True)
class LabelShape:
    """`top_k`: None for all; `by_index`: in the model's order; `best_only`: nothing was asked for."""

    top_k: int | None
    by_index: bool
    best_only: bool
    single: bool
    api: bool

    @classmethod
    def of(cls, request: Request, p: Parameters, *, single: bool) -> LabelShape:
        """What the request asks for."""
        top_k = p.integer("top_k", None, minimum=1)
        by_index = p.boolean("return_all_scores", False) and "top_k" not in p
        # A plain text without top_k gets the best label only, in a shape of its own.
        best_only = "top_k" not in p and not by_index
        api = request.dialect is Dialect.API
        if best_only:
            top_k = _API_TOP_K if api and single else 1
        return cls(top_k, by_index, best_only, single, api)

    def row(self, scores: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One text's labels."""
        order = (
            range(len(scores)) if self.by_index else np.argsort(-scores, kind="stable")[: self.top_k].tolist()
        )
        return [{"label": labels[index], "score": scores[index]} for index in order]

    def answer(self, rows: list[list[dict[str, Any]]]) -> Any:
        """All texts' labels as one answer."""
        if self.api or self.by_index:
            return rows
        if self.best_only:
            return [row[0] for row in rows]
        return rows[0] if self.single else rows
