"""Writes a GGUF file: what llama.cpp must know of the model, its vocabulary, and its tensors one after another.

Called by `__main__`. The same model gives the same bytes. Memory: the largest tensor, a few times.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, RopeScalingType

from inlet.core.errors import Refused
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.gguf.config import Decoder
from inlet.runtime.gguf.stops import Stops
from inlet.runtime.gguf.tensors import Tensor, rope_factors
from inlet.runtime.gguf.vocabulary import Vocabulary

_ROOM = 1_000_000_000  # bytes that are left free: others write to this disk, too


def write(
    path: Path,
    decoder: Decoder,
    vocabulary: Vocabulary,
    stops: Stops,
    tensors: list[Tensor],
    weights: Weights,
    report: Callable[[str], None],
) -> None:
    """Write the file. `Refused` when a tensor is not as planned or the disk has no room for all."""
    total = sum(tensor.size for tensor in tensors)
    free = shutil.disk_usage(path.parent).free - _ROOM
    if total > free:
        raise Refused(
            f"the GGUF file takes {total / 1e6:.0f} MB, and {max(free, 0) / 1e6:.0f} MB of this disk may be used; make room"
        )
    writer = GGUFWriter(path, decoder.family.architecture)
    try:
        _describe(writer, decoder)
        _add_vocabulary(writer, vocabulary, stops)
        factors = rope_factors(decoder)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        for tensor in tensors:
            # Numpy's type only says that the shape counts numbers; how they are stored says `raw_dtype`.
            writer.add_tensor_info(
                tensor.name, tensor.stored_shape, np.dtype(np.float32), tensor.size, raw_dtype=tensor.kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        done, said = 0, -1
        for tensor in tensors:
            writer.write_tensor_data(tensor.read(weights))
            done += tensor.size
            if done * 100 // total > said:
                said = done * 100 // total
                report(f"converting the weights: {said} %")
    finally:
        writer.close()


def _describe(writer: GGUFWriter, decoder: Decoder) -> None:
    sizes, rope = decoder.sizes, decoder.rope
    writer.add_vocab_size(sizes["vocabulary"])
    writer.add_context_length(decoder.positions)
    writer.add_embedding_length(sizes["hidden"])
    writer.add_block_count(decoder.layers)
    writer.add_feed_forward_length(sizes["intermediate"])
    writer.add_head_count(decoder.heads)
    writer.add_head_count_kv(decoder.kv_heads)
    writer.add_key_length(sizes["head"])
    writer.add_value_length(sizes["head"])
    if decoder.family.rms_norm:
        writer.add_layer_norm_rms_eps(decoder.eps)
    else:
        writer.add_layer_norm_eps(decoder.eps)
    if rope is not None:
        writer.add_rope_dimension_count(sizes["head"])
        writer.add_rope_freq_base(rope.base)
        if rope.windowed_base is not None:
            writer.add_rope_freq_base_swa(rope.windowed_base)
        if rope.kind == "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope.numbers["factor"])
    if decoder.window is not None:
        writer.add_sliding_window(decoder.window)
    if decoder.soft_caps is not None:
        scores, logits = decoder.soft_caps
        writer.add_attn_logit_softcapping(scores)
        writer.add_final_logit_softcapping(logits)


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary, stops: Stops) -> None:
    if vocabulary.strips_after_special:
        writer.add_name("phi-3")  # llama.cpp knows no other way to say it
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges is not None:
        writer.add_token_merges(vocabulary.merges)
    writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_add_bos_token(vocabulary.first is not None)
    writer.add_add_eos_token(vocabulary.last is not None)
    for kind, token in stops.tokens.items():
        writer.add_uint32(f"tokenizer.ggml.{kind}_token_id", token)
    if stops.chat_template is not None:
        writer.add_chat_template(stops.chat_template)
