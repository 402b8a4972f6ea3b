"""Which task a model is for, from what its repository says about itself.

Asked by `control/lookup.py` when a person named no task. Guesses only from certain signs; says nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

TASKS = frozenset(
    {
        "custom", "any-to-any", "audio-classification", "automatic-speech-recognition", "conversational",
        "feature-extraction", "fill-mask", "image-classification", "image-segmentation", "image-text-to-text",
        "object-detection", "question-answering", "sentence-embeddings", "sentence-ranking", "sentence-similarity",
        "summarization", "table-question-answering", "text-classification", "text-generation", "text-ranking",
        "text-to-image", "text2text-generation", "token-classification", "translation", "zero-shot-classification",
    }
)  # fmt: skip
"""Every task of the public API, past ones included."""

_BY_ARCHITECTURE = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "fill-mask"),
    ("ForImageClassification", "image-classification"),
    ("ForCausalLM", "text-generation"),
    ("Model", "feature-extraction"),
)


def guess_task(config: Mapping[str, Any], files: Collection[str], tag: str | None = None) -> str | None:
    """The task by the Hub's own tag, else by the files, else by the architecture in `config.json`; None if unsure."""
    if tag in TASKS:
        return tag
    if "modules.json" in files:  # a sentence-transformers repository
        return "sentence-similarity"
    architectures = config.get("architectures") or [""]
    for ending, task in _BY_ARCHITECTURE:
        if str(architectures[0]).endswith(ending):
            return task
    return None
