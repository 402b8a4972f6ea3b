"""Makes a tiny model for llama.cpp: random weights in the shape of a Llama, a byte-level vocabulary, some hundred kilobytes."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CONTEXT = 65_536  # tokens: far more than any test waits for
_WIDTH, _HEADS, _HEAD, _LAYERS = 64, 4, 16, 2
_MERGES = ("t h", "th e", "i n")
CALL = "<tool_call>"  # a token of its own, which a request can make likely by its number
END = "<|end|>"
_TEMPLATE = (
    "{% if tools %}system: call {{ tools | tojson }}<|end|>{% endif %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content or '' }}"
    f"{{% for call in message.tool_calls or [] %}}{CALL}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_gguf(
    file: Path, *, context: int = CONTEXT, seed: int = 0, ranks: bool = False, split: int = 0
) -> None:
    """A model that continues any text with nonsense, the same each time, and hardly ever ends by itself.

    `ranks`: a Qwen3 with a head that ranks instead. `split`: into parts of so many tensors, beside `file`, by its name.
    """
    tokens = [*_byte_signs(), *(merge.replace(" ", "") for merge in _MERGES), CALL, "<|begin|>", END]
    special = [gguf.TokenType.USER_DEFINED] + [gguf.TokenType.CONTROL] * 2
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(special)) + special
    writer = gguf.GGUFWriter(str(file), "qwen3" if ranks else "llama", split_max_tensors=split)
    writer.add_context_length(context)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(2 * _WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(_MERGES))
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(True)
    writer.add_chat_template(_TEMPLATE)
    chance = np.random.default_rng(seed)
    _add_weights(writer, len(tokens), chance)
    if ranks:
        writer.add_classifier_output_labels(["yes", "no"])
        _add_head(writer, chance)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_weights(writer: gguf.GGUFWriter, tokens: int, chance: np.random.Generator) -> None:
    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (0.3 * chance.standard_normal(shape)).astype(np.float32))

    def add_ones(name: str) -> None:
        writer.add_tensor(name, np.ones(_WIDTH, np.float32))

    add("token_embd.weight", tokens, _WIDTH)
    output = 0.5 * chance.standard_normal((tokens, _WIDTH))
    output[[-1, -3]] = 0  # its end is never the likeliest, nor is a call
    writer.add_tensor("output.weight", output.astype(np.float32))
    add_ones("output_norm.weight")
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        add_ones(f"{block}.attn_norm.weight")
        add_ones(f"{block}.ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{name}.weight", _WIDTH, _WIDTH)
        add(f"{block}.ffn_gate.weight", 2 * _WIDTH, _WIDTH)
        add(f"{block}.ffn_up.weight", 2 * _WIDTH, _WIDTH)
        add(f"{block}.ffn_down.weight", _WIDTH, 2 * _WIDTH)


def _add_head(writer: gguf.GGUFWriter, chance: np.random.Generator) -> None:
    """What Qwen3 has beside the rest, and what makes it rank."""
    for layer in range(_LAYERS):
        for name in ("attn_q_norm", "attn_k_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_HEAD, np.float32))
    writer.add_tensor("cls.output.weight", chance.standard_normal((2, _WIDTH)).astype(np.float32))


def _byte_signs() -> list[str]:
    """A printable sign for each byte, as GPT-2's vocabulary has them."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]
