"""Runs a compiled graph through lanes. Made by `model`, used by `batcher`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inlet.runtime.engines.base import FloatArray, IntArray, Variant
from inlet.runtime.engines.openvino._library import ov

# With one thread the wide lane is a narrow one already.
_NARROW_FROM = 2


def can_bf16() -> bool:
    """Whether this CPU computes in bfloat16 itself."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine:
    """One compiled model with a lane that uses every thread; from two threads on another one with a lane for each.

    Two compiled models do not share their weights, which each packs for its own kernels.
    """

    def __init__(self, model: Any, variant: Variant, *, threads: int, cache: Path | None) -> None:
        self.variant = variant
        self.threads = threads
        self._inputs = tuple(value.get_any_name() for value in model.inputs)
        self._lane = self._compile(model, cache, streams=1)[0]
        # Only then: it may be what keeps the weights in memory.
        self._narrow_source = (model, cache) if threads >= _NARROW_FROM else None

    def lanes(self) -> Sequence[_Lane]:
        return (self._lane,)

    def narrow(self) -> Sequence[_Lane]:
        if self._narrow_source is None:
            return ()
        return self._compile(*self._narrow_source, streams=self.threads)

    def _compile(self, model: Any, cache: Path | None, *, streams: int) -> list[_Lane]:
        settings = _settings(self.variant, self.threads, cache) | {"NUM_STREAMS": str(streams)}
        compiled = ov.Core().compile_model(model, "CPU", settings)
        return [_Lane(compiled.create_infer_request(), self._inputs) for _ in range(streams)]


def _settings(variant: Variant, threads: int, cache: Path | None) -> dict[str, str]:
    settings = {
        "INFERENCE_PRECISION_HINT": variant.compute,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": "NO",  # several replicas share the machine: the scheduler knows better
    }
    if variant.precision == "int8":
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(variant.group)
    if cache is not None:
        # The small kind of cache: it refers to the weights in the graph's own file, which stay mapped and shared.
        settings |= {"CACHE_DIR": str(cache), "CACHE_MODE": "OPTIMIZE_SIZE"}
    return settings


class _Lane:
    def __init__(self, request: Any, inputs: tuple[str, ...]) -> None:
        self._request = request
        self._inputs = inputs

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        values = {"input_ids": ids, "token_type_ids": token_types, "attention_mask": mask}
        feed = {name: values[name] for name in self._inputs}
        try:
            # Never cancelled from outside: the plugin then keeps the shapes of nodes that did not run, and later
            # inferences fail or mix them up.
            self._request.infer(feed, share_inputs=True)
        except RuntimeError as error:
            raise _translate(error) from error
        result: FloatArray = self._request.get_output_tensor(0).data
        return result


def _translate(error: RuntimeError) -> Exception:
    text = str(error)
    if "alloc" in text:  # "bad_alloc", "Failed to allocate", "can't alloc": all there is to tell it by
        return MemoryError(text)
    return error
