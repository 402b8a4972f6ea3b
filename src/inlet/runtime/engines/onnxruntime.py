"""ONNX Runtime on the CPU, for ready-made ONNX files that OpenVINO does not compute the same. Needs the extra `onnxruntime`.

Made by `origins/opening`. Texts run one by one and unpadded: the scales of dynamically quantised activations span a whole
tensor, so that in a batch an answer would depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from inlet.core.errors import Refused
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines import ports
from inlet.runtime.engines.alone import each_alone
from inlet.runtime.engines.base import FloatArray, IntArray, Variant

# It makes one operation of a sum and its norm, which takes several times as long as the two (ONNX Runtime 1.32).
_SLOWER = ["SkipLayerNormFusion"]


class OnnxModel:
    """One ONNX file, with its weights inside or beside it. `path` is read when it is compiled."""

    def __init__(self, path: Path, head: Head) -> None:
        self._path, self._head = path, head

    def compile(self, variant: Variant, *, threads: int, cache: Path | None = None) -> OnnxEngine:  # noqa: ARG002
        """Make it run; there is nothing to keep in `cache`. `Refused` when the file or its inputs and outputs do not fit."""
        return OnnxEngine(self._path, self._head, variant, threads=threads)


class OnnxEngine:
    """One session with one lane."""

    def __init__(self, path: Path, head: Head, variant: Variant, *, threads: int) -> None:
        self.variant = variant
        self.threads = threads
        try:
            session = ort.InferenceSession(
                path,
                _options(threads),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_SLOWER,
            )
        except Exception as error:  # the bindings have an exception for each of their codes
            raise Refused(f"{path.name} cannot be read by ONNX Runtime: {error}") from error
        self._lane = _Lane(session, head)

    def lanes(self) -> Sequence[_Lane]:
        return (self._lane,)

    def narrow(self) -> Sequence[_Lane]:
        return ()


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False  # it keeps the most that any length ever took
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are shared
    options.log_severity_level = 3
    return options


class _Lane:
    def __init__(self, session: ort.InferenceSession, head: Head) -> None:
        self._session = session
        inputs = {value.name: value.type for value in session.get_inputs()}
        ports.check_inputs(inputs)
        self._types = {
            name: np.int32 if kind == "tensor(int32)" else np.int64 for name, kind in inputs.items()
        }
        self._output = ports.output_for(
            head, {value.name: len(value.shape) for value in session.get_outputs()}
        )

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        return each_alone(self._run, ids, token_types, mask)

    def _run(self, feed: Mapping[str, IntArray]) -> FloatArray:
        values = {**feed, ports.POSITIONS: np.arange(feed["input_ids"].shape[1])[None]}
        try:
            (output,) = self._session.run(
                [self._output], {name: values[name].astype(kind) for name, kind in self._types.items()}
            )
        except RuntimeError as error:
            if "allocate memory" in str(error):  # all there is to tell it by
                raise MemoryError(str(error)) from error
            raise
        return np.asarray(output, dtype=np.float32)
