"""Which variants are worth trying for a graph on this CPU. Called by `build`; pure."""

from __future__ import annotations

from inlet.runtime.engines.base import Variant

FP32 = Variant("openvino", "fp32")
BF16 = Variant("openvino", "bf16", "bf16")
_GROUPS = (128, 256)  # the engine's own default, 32, costs 15 to 35 % of the speed for little


def first(*, bf16: bool) -> Variant:
    """What answers while nothing has been checked yet: as near to fp32 as needs no check."""
    return BF16 if bf16 else FP32


def int8_variants(hidden: int, *, bf16: bool) -> list[Variant]:
    """All ways to compute with int8 weights. A group must divide the rows, or the engine silently takes another one."""
    groups = [size for size in _GROUPS if hidden % size == 0] or [32]
    found = [Variant("openvino", "int8", "f32", size) for size in groups]
    # With bf16 units of their own, some CPUs multiply faster in bf16 than in int8 with activations quantised on the fly.
    return [*found, Variant("openvino", "int8", "bf16", groups[0])] if bf16 else found
