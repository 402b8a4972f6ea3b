"""One entry per model family: how it names its tensors. A new family is a new entry here, or a refusal.

Read by `config` and `encoder`. Names are relative to the prefix that checkpoints with a head put before the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """Tensor names without `.weight` and `.bias`; `{}` in `layer` is the layer's number."""

    prefix: str
    word: str
    position: str
    token_type: str
    embedding_norm: str
    layer: str
    query: str
    key: str
    value: str
    attention_out: str
    attention_norm: str
    up: str
    down: str
    output_norm: str
    pooler: str
    classifier: str
    ignorable: tuple[str, ...]  # tensors that never reach the hidden states: buffers and the pooler
    other_heads: tuple[str, ...]  # heads that checkpoints of this family carry, outside the prefix


BERT = Family(
    prefix="bert.",
    word="embeddings.word_embeddings",
    position="embeddings.position_embeddings",
    token_type="embeddings.token_type_embeddings",  # noqa: S106 - a tensor's name
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
    pooler="pooler.dense",
    classifier="classifier",
    ignorable=("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"),
    other_heads=("cls.", "classifier.", "qa_outputs."),
)

FAMILIES: Mapping[str, Family] = {"bert": BERT}
