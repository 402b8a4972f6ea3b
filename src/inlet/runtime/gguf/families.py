"""One entry per family of decoders: how it names its tensors and settings, and in what it differs from Llama. Data only.

Read by `config` and `tensors`. A new family is a new entry here, or a refusal. Names of tensors are those of transformers;
what llama.cpp calls them is known to the `gguf` package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Dimensions = tuple[str, ...]
"""Sizes by name, as `config.Decoder.sizes` has them; in the order of the checkpoint's tensor."""


@dataclass(frozen=True, slots=True)
class Family:
    """The defaults are Llama's, which most families took over.

    `layer`: tensors of each layer, relative to `layers`, where `{}` is its number. `biased`: tensors that come with a bias if
    the setting of that name is true, or always (None).
    """

    architecture: str  # as llama.cpp calls it

    prefix: str = "model."  # of all names but the head's; checkpoints of bare models have none
    layers: str = "layers.{}."
    outer: Mapping[str, Dimensions] = field(
        default_factory=lambda: {"embed_tokens.weight": ("vocabulary", "hidden"), "norm.weight": ("hidden",)}
    )
    layer: Mapping[str, Dimensions] = field(default_factory=lambda: {**_ATTENTION, **_GATED, **_NORMS})
    biased: Mapping[str | None, tuple[str, ...]] = field(default_factory=dict)
    ignorable: tuple[str, ...] = ("rotary_emb.inv_freq",)  # ends of names of buffers

    interleaved: bool = False  # llama.cpp rotates neighbouring numbers of a head, transformers halves of it
    transposed: bool = False  # matrices of layers are stored inputs first
    norms_from_one: bool = False  # norms are stored as the difference from one
    rms_norm: bool = True

    # Settings. Llama's name to this family's; what absent ones stand for; values without which this entry does not hold
    # (None: absent).
    renamed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    activations: tuple[str, ...] = ("silu",)

    scalings: tuple[str, ...] = ("default", "linear")  # of rotary positions; none: positions are learned
    # Every so manieth layer sees everything, the others a window; 0: the window is that of all layers, and llama.cpp has none.
    window_pattern: int = 0
    soft_caps: bool = False  # scores and logits are capped
    # Scores are divided by the root of `query_pre_attn_scalar`. llama.cpp takes for it the size of a head or, in the family's
    # model of so many layers, hidden_size / heads.
    scaled_by_hidden: int | None = None


_ATTENTION: Mapping[str, Dimensions] = {
    "self_attn.q_proj.weight": ("queries", "hidden"),
    "self_attn.k_proj.weight": ("keys", "hidden"),
    "self_attn.v_proj.weight": ("keys", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "queries"),
}
_HEAD_NORMS: Mapping[str, Dimensions] = {
    "self_attn.q_norm.weight": ("head",),
    "self_attn.k_norm.weight": ("head",),
}
_GATED: Mapping[str, Dimensions] = {
    "mlp.gate_proj.weight": ("intermediate", "hidden"),
    "mlp.up_proj.weight": ("intermediate", "hidden"),
    "mlp.down_proj.weight": ("hidden", "intermediate"),
}
_NORMS: Mapping[str, Dimensions] = {
    "input_layernorm.weight": ("hidden",),
    "post_attention_layernorm.weight": ("hidden",),
}
_OUTER_NORMS: Mapping[str, Dimensions] = {
    "pre_feedforward_layernorm.weight": ("hidden",),
    "post_feedforward_layernorm.weight": ("hidden",),
}
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_BIASED_IF: Mapping[str | None, tuple[str, ...]] = {
    "attention_bias": (*_QKV, "self_attn.o_proj"),
    "mlp_bias": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}

LLAMA = Family(
    "llama",
    interleaved=True,
    biased=_BIASED_IF,
    scalings=("default", "linear", "llama3"),
)

MISTRAL = Family("llama", interleaved=True, defaults={"sliding_window": 4096})

QWEN2 = Family(
    "qwen2",
    biased={None: _QKV},
    defaults={"use_sliding_window": False},
)

QWEN3 = Family(
    "qwen3",
    layer={**_ATTENTION, **_HEAD_NORMS, **_GATED, **_NORMS},
    defaults={"head_dim": 128, "use_sliding_window": False},
    required={"attention_bias": (None, False)},
)

_GEMMA_DEFAULTS: Mapping[str, Any] = {
    "head_dim": 256,
    "tie_word_embeddings": True,
    "hidden_act": "gelu_pytorch_tanh",
}
# The old configurations of Gemma say `gelu` where its authors meant, and transformers computes, the approximation.
GEMMA = Family(
    "gemma",
    norms_from_one=True,
    defaults=_GEMMA_DEFAULTS,
    required={"tie_word_embeddings": (True,), "attention_bias": (None, False)},
    activations=("gelu_pytorch_tanh", "gelu"),
)

_GEMMA_REQUIRED: Mapping[str, tuple[Any, ...]] = {
    "tie_word_embeddings": (True,),
    "attention_bias": (None, False),
    "use_bidirectional_attention": (None, False),
}
GEMMA2 = Family(
    "gemma2",
    norms_from_one=True,
    layer={**_ATTENTION, **_GATED, **_NORMS, **_OUTER_NORMS},
    renamed={"hidden_act": "hidden_activation"},
    defaults={
        **_GEMMA_DEFAULTS,
        "sliding_window": 4096,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    required=_GEMMA_REQUIRED,
    activations=("gelu_pytorch_tanh",),
    window_pattern=2,
    soft_caps=True,
    scaled_by_hidden=46,
)

GEMMA3 = Family(
    "gemma3",
    norms_from_one=True,
    layer={**_ATTENTION, **_HEAD_NORMS, **_GATED, **_NORMS, **_OUTER_NORMS},
    renamed={"hidden_act": "hidden_activation"},
    defaults={**_GEMMA_DEFAULTS, "sliding_window": 4096, "query_pre_attn_scalar": 256, "rope_theta": 1e6},
    required={
        **_GEMMA_REQUIRED,
        "attn_logit_softcapping": (None,),
        "final_logit_softcapping": (None,),
    },
    activations=("gelu_pytorch_tanh",),
    window_pattern=6,
    scaled_by_hidden=62,
)

PHI3 = Family(
    "phi3",
    layer={
        "self_attn.qkv_proj.weight": ("queries_keys_values", "hidden"),
        "self_attn.o_proj.weight": ("hidden", "queries"),
        "mlp.gate_up_proj.weight": ("gate_up", "hidden"),
        "mlp.down_proj.weight": ("hidden", "intermediate"),
        **_NORMS,
    },
    defaults={"rms_norm_eps": 1e-5},
    scalings=("default",),
)

GPT2 = Family(
    "gpt2",
    prefix="transformer.",
    layers="h.{}.",
    outer={
        "wte.weight": ("vocabulary", "hidden"),
        "wpe.weight": ("positions", "hidden"),
        "ln_f.weight": ("hidden",),
        "ln_f.bias": ("hidden",),
    },
    layer={
        "ln_1.weight": ("hidden",),
        "ln_1.bias": ("hidden",),
        "attn.c_attn.weight": ("hidden", "queries_keys_values"),
        "attn.c_proj.weight": ("queries", "hidden"),
        "ln_2.weight": ("hidden",),
        "ln_2.bias": ("hidden",),
        "mlp.c_fc.weight": ("hidden", "intermediate"),
        "mlp.c_proj.weight": ("intermediate", "hidden"),
    },
    biased={None: ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")},
    ignorable=("attn.bias", "attn.masked_bias"),
    transposed=True,
    rms_norm=False,
    renamed={
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
        "hidden_act": "activation_function",
        "rms_norm_eps": "layer_norm_epsilon",
    },
    defaults={"tie_word_embeddings": True, "hidden_act": "gelu_new", "rms_norm_eps": 1e-5},
    required={
        "scale_attn_weights": (None, True),
        "scale_attn_by_inverse_layer_idx": (None, False),
        "add_cross_attention": (None, False),
    },
    activations=("gelu_new",),
    scalings=(),
)

FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "phi3": PHI3,
    "gpt2": GPT2,
}
"""By `model_type` of config.json."""
