"""Plans the tensors of a GGUF file, and makes each one's bytes from the checkpoint. Called by `write`.

A plan holds no numbers: one tensor at a time is read, turned into llama.cpp's order of rows, and stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import quants

from inlet.core.errors import Refused
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Array, FloatArray
from inlet.runtime.gguf.config import Decoder
from inlet.runtime.gguf.storage import Storage

_HEAD = "lm_head.weight"
_BLOCK = 32  # numbers that share a scale in Q8_0


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file: what llama.cpp and the checkpoint call it, its shape there, and how it is stored here."""

    name: str
    source: str
    shape: tuple[int, ...]
    kind: Kind
    heads: int = 0  # whose rows are put in llama.cpp's order; 0: none are
    transposed: bool = False
    from_one: bool = False

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def size(self) -> int:
        """Bytes in the file."""
        block, width = gguf.GGML_QUANT_SIZES[self.kind]
        return math.prod(self.shape) // block * width

    def read(self, weights: Weights) -> Array:
        """The bytes. `Refused` when the checkpoint has no such tensor, of another shape, or of numbers that do not fit."""
        numbers: FloatArray = weights.take(self.source, self.shape)
        if self.transposed:
            numbers = np.ascontiguousarray(numbers.T)
        if self.heads:
            numbers = _interleaved(numbers, self.heads)
        if self.from_one:
            numbers = numbers + 1
        with np.errstate(over="ignore"):  # looked for below
            stored: Array = quants.quantize(numbers, self.kind)
        if self.kind is Kind.F16 and not np.isfinite(stored).all():
            raise Refused(
                f"tensor {self.source} has numbers that half precision cannot hold; use another type"
            )
        return stored


def plan(decoder: Decoder, weights: Weights, storage: Storage) -> list[Tensor]:
    """Every tensor of the file, in its order. `Refused` if the checkpoint lacks one, or has others."""
    family, matrices = decoder.family, _kind_of(decoder, storage)
    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = gguf.get_tensor_name_map(architecture, decoder.layers)
    prefix = family.prefix if any(name.startswith(family.prefix) for name in weights) else ""

    rotated = {"q_proj": decoder.heads, "k_proj": decoder.kv_heads} if family.interleaved else {}

    def tensor(name: str, dimensions: tuple[str, ...], *, inner: bool) -> Tensor:
        whole = name if name == _HEAD else family.prefix + name
        ours = names.get_name(whole, try_suffixes=(".weight", ".bias"))
        assert ours is not None, name  # noqa: S101 - the table of families names only what gguf knows
        shape = tuple(decoder.sizes[size] for size in dimensions)
        transposed = family.transposed and inner and len(shape) == 2
        row = shape[0] if transposed else shape[-1]
        part = name.rsplit(".", 2)[-2]
        return Tensor(
            name=ours,
            source=name if name == _HEAD else prefix + name,
            shape=shape,
            kind=_fitting(matrices, row) if len(shape) == 2 else Kind.F32,
            heads=rotated.get(part, 0),
            transposed=transposed,
            from_one=family.norms_from_one and "norm" in part,
        )

    found = [tensor(name, dimensions, inner=False) for name, dimensions in family.outer.items()]
    if not decoder.tied:
        found.append(tensor(_HEAD, ("vocabulary", "hidden"), inner=False))
    for number in range(decoder.layers):
        for name, dimensions in _layer(decoder):
            found.append(tensor(family.layers.format(number) + name, dimensions, inner=True))
    _check_names(decoder, weights, {item.source for item in found})
    return found


def rope_factors(decoder: Decoder) -> FloatArray | None:
    """What llama.cpp divides each frequency of the rotary positions by, if that is not the same for all."""
    rope = decoder.rope
    if rope is None or rope.kind != "llama3":
        return None
    pairs = np.arange(0, decoder.sizes["head"], 2, dtype=np.float64)
    turns = rope.numbers["original_max_position_embeddings"] / (
        2 * np.pi * rope.base ** (pairs / decoder.sizes["head"])
    )
    low, high, factor = (rope.numbers[name] for name in ("low_freq_factor", "high_freq_factor", "factor"))
    if low >= high:
        raise Refused("config.json: low_freq_factor must be less than high_freq_factor")
    kept = np.clip((turns - low) / (high - low), 0, 1)  # fast frequencies stay, slow ones are stretched
    return np.asarray(1 / (kept + (1 - kept) / factor), dtype=np.float32)


def _layer(decoder: Decoder) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, dimensions in decoder.family.layer.items():
        yield name, dimensions
        matrix = name.removesuffix(".weight")
        if matrix in decoder.biased:
            yield f"{matrix}.bias", dimensions[-1:] if decoder.family.transposed else dimensions[:1]


def _check_names(decoder: Decoder, weights: Weights, sources: set[str]) -> None:
    missing = sorted(sources - set(weights))
    if missing:
        raise Refused(f"the weights lack {len(missing)} tensors of this kind of model, such as {missing[0]}")
    tied = {_HEAD} if decoder.tied else set()
    others = sorted(
        name for name in set(weights) - sources - tied if not name.endswith(decoder.family.ignorable)
    )
    if others:
        raise Refused(
            f"the weights have {len(others)} tensors that this kind of model has not, such as {others[0]}; "
            "merge adapters into the model, and save it with `model.save_pretrained(folder)`"
        )


def _kind_of(decoder: Decoder, storage: Storage) -> Kind:
    if storage is not Storage.AUTO:
        return Kind[storage.name]
    kinds: dict[Any, Kind] = {"float16": Kind.F16, "bfloat16": Kind.BF16}
    return kinds.get(decoder.dtype, Kind.F32)


def _fitting(kind: Kind, row: int) -> Kind:
    """That kind, unless rows of so many numbers are not whole blocks of it."""
    return Kind.F16 if kind is Kind.Q8_0 and row % _BLOCK else kind


def _interleaved(numbers: FloatArray, heads: int) -> FloatArray:
    """Rows of each head: those that are rotated together, which are half a head apart in the checkpoint, side by side."""
    halves = numbers.reshape(heads, 2, numbers.shape[0] // heads // 2, *numbers.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(numbers.shape))
