"""Which variants are worth trying for a graph on this CPU. Called by `build` and `choice`; pure."""

from __future__ import annotations

from dataclasses import replace

from inlet.runtime.engines.base import BF16, FP32, Variant

# From the fastest to the most exact. Larger ones gain little; the engine's own default is the smallest.
_GROUPS = (128, 64, 32)


def first(*, bf16: bool) -> Variant:
    """What answers while nothing has been checked yet: as near to fp32 as needs no check."""
    return BF16 if bf16 else FP32


def int8_variants(hidden: int, *, bf16: bool) -> list[Variant]:
    """Ways to compute with int8 weights. A group must divide the rows, or the engine silently takes another one."""
    group = next((size for size in _GROUPS if hidden % size == 0), _GROUPS[-1])
    found = [Variant("openvino", "int8", "f32", group)]
    # With bf16 units of their own, some CPUs multiply faster in bf16 than in int8 with activations quantised on the fly.
    return [*found, Variant("openvino", "int8", "bf16", group)] if bf16 else found


def finer(variant: Variant) -> Variant | None:
    """One step back towards exactness, for what did not pass; None when there is none."""
    smaller = [size for size in _GROUPS if size < variant.group]
    return replace(variant, compute="f32", group=smaller[0]) if smaller else None
