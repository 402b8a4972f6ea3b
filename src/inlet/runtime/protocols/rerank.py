"""Reranking in the words of Cohere and Jina: `documents` in, `results` out. Called by way of `table`, and by `tei` on their common path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inlet.runtime.answers import Answer
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.protocols.fields import Fields, listed, string
from inlet.runtime.protocols.inputs import pairs, within
from inlet.runtime.protocols.routed import Routed
from inlet.runtime.protocols.times import timed
from inlet.runtime.scores import sigmoid
from inlet.runtime.tasks.base import Work
from inlet.runtime.texts import Limit

MAX_DOCUMENTS = 1_000  # in one request


async def ranks(routed: Routed) -> Answer:
    """The documents by how well they answer the query."""
    encoder, received = routed.reranker(), routed.body()
    query = string(received.get("query"), "query")
    documents = [
        _text(item, f"documents[{index}]")
        for index, item in enumerate(listed(received.get("documents"), "documents", most=MAX_DOCUMENTS))
    ]
    p = Fields(received, {"model", "top_n", "return_documents"})
    p.string("model", None)
    top, with_text = p.integer("top_n", None, minimum=1), p.boolean("return_documents", False)
    texts = encoder.loaded.model.texts
    paired = pairs(query, documents, "documents")
    limit = Limit(texts.max_length, clip=True)
    work = Work(paired, lambda: within(texts, paired, limit), lambda row, _: sigmoid(row), lambda rows: rows)
    computed = await encoder.compute(work, routed.asked)

    def answer() -> dict[str, Any]:
        results = []
        for index, score in descending(computed.rows)[:top]:
            document = {"document": {"text": documents[index]}} if with_text else {}
            results.append({"index": index, "relevance_score": score, **document})
        usage = {"prompt_tokens": computed.tokens, "total_tokens": computed.tokens}
        return {"model": routed.name, "results": results, "usage": usage}

    return timed(await encoder.written(answer, computed), computed, routed.asked)


def descending(rows: Sequence[FloatArray]) -> list[tuple[int, Any]]:
    """Place and score of each row of one number, the highest first."""
    return sorted(((index, row[0]) for index, row in enumerate(rows)), key=lambda item: -item[1])


def _text(value: Any, field: str) -> str:
    if isinstance(value, Mapping):
        return string(value.get("text"), f"{field}.text")
    return string(value, field)
