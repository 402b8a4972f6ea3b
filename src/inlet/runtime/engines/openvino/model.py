"""A graph that is not compiled yet: read from a file or made by `graph`, quantised, written, compiled.

Called by `model` and by the artifact build. A graph that was quantised is another graph; the first stays as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from inlet.core.errors import Refused
from inlet.runtime.engines.base import Variant
from inlet.runtime.engines.openvino._library import ov
from inlet.runtime.engines.openvino.engine import OpenVinoEngine
from inlet.runtime.engines.openvino.quantise import quantise


class OpenVinoModel:
    """One graph with its weights, which may be views of a mapped file."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @classmethod
    def read(cls, path: Path) -> Self:
        """An `.xml` file with its `.bin` beside it, or an ONNX file."""
        try:
            return cls(ov.Core().read_model(str(path)))
        except RuntimeError as error:
            raise Refused(f"{path.name} cannot be read by OpenVINO: {str(error).splitlines()[0]}") from error

    def quantised(self) -> OpenVinoModel:
        """The same graph with int8 weights."""
        copy = self._model.clone()
        quantise(copy)
        return OpenVinoModel(copy)

    def save(self, path: Path) -> None:
        """Write `path` (`.xml`) and its `.bin`, with every weight as it is."""
        ov.save_model(self._model, str(path), compress_to_fp16=False)

    def compile(self, variant: Variant, *, threads: int, cache: Path | None = None) -> OpenVinoEngine:
        """Make it run. `cache`: folder of what the engine may reuse at its next start of this graph's file."""
        return OpenVinoEngine(self._model, variant, threads=threads, cache=cache)
