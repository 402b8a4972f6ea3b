"""One entry per model family: how it names its tensors and settings, and in what it differs from BERT. Data only.

Read by `config` and `encoder`. A new family is a new entry here, or a refusal. Names of an encoder's tensors are relative
to the prefix that checkpoints with a head put before them; a head's names are complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class MaskedHead:
    """The head that fills masks: `dense`, an activation, `norm`, then one score per word of the vocabulary.

    `decoder` names the table behind the scores, which most checkpoints leave out because it is that of the embeddings.
    `beside`: how the names of heads begin that were trained together with it.
    """

    dense: str
    norm: str
    decoder: str
    activation: str | None = None  # None: as in the layers
    beside: tuple[str, ...] = ()


_BERT_MASKED = MaskedHead(
    dense="cls.predictions.transform.dense",
    norm="cls.predictions.transform.LayerNorm",
    decoder="cls.predictions.decoder",
    beside=("cls.seq_relationship.",),
)
_ROBERTA_MASKED = MaskedHead(
    dense="lm_head.dense", norm="lm_head.layer_norm", decoder="lm_head.decoder", activation="gelu"
)


@dataclass(frozen=True, slots=True)
class Family:
    """Tensor names without `.weight` and `.bias`. The defaults are BERT's, which most families took over.

    The layers' numbers go into `layer`: `{0}` counts layers, or groups of layers that share weights, where `{1}` counts
    within the group. The head for sequences is `pooled`, an activation, `classifier`, all on the first token.
    """

    prefix: str
    pooled: str
    classifier: str
    masked: MaskedHead
    other_heads: tuple[str, ...]  # how the names of heads begin that checkpoints of this family carry
    pooled_activation: str | None = "tanh"  # None: config.json says, in `pooler_hidden_act`

    word: str = "embeddings.word_embeddings"
    position: str = "embeddings.position_embeddings"
    token_type: str = "embeddings.token_type_embeddings"  # noqa: S105 - a tensor's name
    embedding_norm: str = "embeddings.LayerNorm"
    projection: str | None = None  # from the embeddings' size to the layers'
    projects_always: bool = False  # even between equal sizes
    counts_from_pad: bool = False  # positions are pad_token_id + 1 and up, and tokens with that id have none

    layer: str = "encoder.layer.{0}."
    groups_layers: bool = False
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    output_norm: str = "output.LayerNorm"
    distance_bias: str | None = None  # table of what each head's scores get by the distance of two tokens
    disentangled: bool = False  # scores also come from contents against distances, which these project:
    distance_key: str = "attention.self.pos_key_proj"
    distance_query: str = "attention.self.pos_query_proj"

    # Tensors of the encoder that never reach the hidden states: buffers and the pooler.
    ignorable: tuple[str, ...] = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")

    # Settings. BERT's name to this family's; what absent ones stand for; those that the reference does not read from
    # config.json; and values without which this description does not hold (None: absent).
    renamed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    required: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


BERT = Family(
    prefix="bert.",
    pooled="bert.pooler.dense",
    classifier="classifier",
    masked=_BERT_MASKED,
    other_heads=("cls.", "classifier.", "qa_outputs."),
)

# XLM-RoBERTa and CamemBERT are the same graph under the same names.
ROBERTA = Family(
    prefix="roberta.",
    pooled="classifier.dense",
    classifier="classifier.out_proj",
    masked=_ROBERTA_MASKED,
    other_heads=("lm_head.", "classifier.", "qa_outputs."),
    counts_from_pad=True,
    defaults={"pad_token_id": 1},
)

DISTILBERT = Family(
    prefix="distilbert.",
    pooled="pre_classifier",
    pooled_activation="relu",
    classifier="classifier",
    masked=MaskedHead(dense="vocab_transform", norm="vocab_layer_norm", decoder="vocab_projector"),
    other_heads=("vocab_", "pre_classifier.", "classifier.", "qa_outputs."),
    layer="transformer.layer.{0}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
    ignorable=("embeddings.position_ids",),
    renamed={
        "hidden_size": "dim",
        "intermediate_size": "hidden_dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "hidden_act": "activation",
    },
    fixed={"layer_norm_eps": 1e-12, "type_vocab_size": 0},
)

MPNET = Family(
    prefix="mpnet.",
    pooled="classifier.dense",
    classifier="classifier.out_proj",
    masked=_ROBERTA_MASKED,
    other_heads=("lm_head.", "classifier.", "qa_outputs."),
    counts_from_pad=True,
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_out="attention.attn.o",
    attention_norm="attention.LayerNorm",
    distance_bias="encoder.relative_attention_bias",
    # Positions begin after the id 1, whatever the padding's id: what is padding is masked in any case.
    fixed={"pad_token_id": 1, "type_vocab_size": 0},
    required={"relative_attention_num_buckets": (None, 32)},
)

ELECTRA = Family(
    prefix="electra.",
    pooled="classifier.dense",
    pooled_activation="gelu",
    classifier="classifier.out_proj",
    masked=MaskedHead(
        dense="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        decoder="generator_lm_head",
        activation="gelu",
    ),
    other_heads=(
        "discriminator_predictions.",
        "generator_",
        "sequence_summary.",
        "classifier.",
        "qa_outputs.",
    ),
    projection="embeddings_project",
    ignorable=("embeddings.position_ids",),
    defaults={"embedding_size": 128},
)

ALBERT = Family(
    prefix="albert.",
    pooled="albert.pooler",
    classifier="classifier",
    masked=MaskedHead(
        dense="predictions.dense",
        norm="predictions.LayerNorm",
        decoder="predictions.decoder",
        beside=("sop_classifier.",),
    ),
    other_heads=("predictions.", "sop_classifier.", "classifier.", "qa_outputs."),
    projection="encoder.embedding_hidden_mapping_in",
    projects_always=True,
    layer="encoder.albert_layer_groups.{0}.albert_layers.{1}.",
    groups_layers=True,
    query="attention.query",
    key="attention.key",
    value="attention.value",
    attention_out="attention.dense",
    attention_norm="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    output_norm="full_layer_layer_norm",
    ignorable=("embeddings.position_ids", "pooler.weight", "pooler.bias"),
    defaults={
        "hidden_act": "gelu_new",
        "embedding_size": 128,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
    },
)

# Version 3 has the graph of version 2.
DEBERTA = Family(
    prefix="deberta.",
    pooled="pooler.dense",
    pooled_activation=None,
    classifier="classifier",
    masked=_BERT_MASKED,
    other_heads=("lm_predictions.", "mask_predictions.", "cls.", "pooler.", "classifier.", "qa_outputs."),
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    disentangled=True,
    # The table of positions stays in checkpoints whose configuration does without.
    ignorable=("embeddings.position_ids", "embeddings.position_embeddings.weight"),
    defaults={
        "layer_norm_eps": 1e-7,
        "type_vocab_size": 0,
        "pooler_hidden_act": "gelu",
        "max_relative_positions": -1,
        "position_buckets": -1,
        "share_att_key": False,
        "norm_rel_ebd": "none",
    },
    required={"relative_attention": (True,), "conv_kernel_size": (None, 0), "embedding_size": (None,)},
)

FAMILIES: Mapping[str, Family] = {
    "albert": ALBERT,
    "bert": BERT,
    "camembert": ROBERTA,
    "deberta-v2": DEBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "mpnet": MPNET,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}
