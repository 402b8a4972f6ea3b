"""From an origin to something that can be compiled. Called by `model`; not for `Kind.BUILT`, which `model` builds itself.

Graphs of strangers are tried once before they are handed out: what changes with the padding that replicas add is computed by
an engine that adds none, or refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inlet.core.errors import Refused
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import FP32, FloatArray, Graph, Variant
from inlet.runtime.origins import probes
from inlet.runtime.origins.choose import Extras, Kind, Origin
from inlet.runtime.origins.exports import NotExported, exported
from inlet.runtime.origins.shape import ModelShape

_NEAR = 1e-3  # files of half precision round differently
_NEAR_SHIPPED = 0.05  # where the file itself quantises
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What can be compiled, and the variant that it is as it came: the reference of every other one."""

    graph: Graph
    variant: Variant

    @property
    def improvable(self) -> bool:
        """Whether there are other ways to compute it than as it came."""
        return self.variant == FP32


@dataclass(frozen=True, slots=True)
class Opening:
    """What is opened. `labels`: how many the answers must have, None for hidden states. `exports`: folder of this model's export."""

    folder: Path
    origin: Origin
    head: Head
    shape: ModelShape
    labels: int | None
    exports: Path


def open_graph(opening: Opening, report: Callable[[str], None]) -> Opened:
    """The graph, or the model in torch when no graph answers the same. `Refused` when neither will do."""
    origin = opening.origin
    if origin.kind is Kind.EXPORT:
        return _exported(opening, report)
    file = opening.folder / origin.files[0]
    if origin.kind is Kind.ONNX and origin.shipped:
        return _onnx(file, opening)  # scales of whole tensors: never more than one text at a time
    try:
        return _openvino(file, opening)
    except Refused as error:
        if origin.kind is not Kind.ONNX or not Extras.installed().onnxruntime:
            raise
        _log.info("ONNX Runtime computes %s, since OpenVINO does not: %s", file.name, error)
    return _onnx(file, opening)


def _exported(opening: Opening, report: Callable[[str], None]) -> Opened:
    try:
        file = _export(opening, report)
        try:
            return _openvino(file, opening)
        except Refused as error:
            _log.warning("looking whether the export is damaged: %s", error)
        return _openvino(_export(opening, report, suspect=True), opening)
    except NotExported as error:
        _log.warning("torch computes this model, one text at a time: %s", error)
        from inlet.runtime.engines.torch import TorchModel

        return Opened(TorchModel.read(opening.folder, opening.head), Variant("torch", "fp32"))


def _export(opening: Opening, report: Callable[[str], None], *, suspect: bool = False) -> Path:
    return exported(opening.folder, opening.head, opening.exports, report, suspect=suspect)


def _openvino(file: Path, opening: Opening) -> Opened:
    from inlet.runtime.engines.openvino.ready import read_ready_made

    opened = Opened(read_ready_made(file, opening.head), Variant("openvino", _precision(opening)))
    alone, filled = (_answer(opened, opening.shape, size) for size in (probes.SHORT, probes.FILLED))
    _check_width(alone, opening)
    difference = probes.difference(filled, alone, [probes.SHORT])
    if difference > (_NEAR_SHIPPED if opening.origin.shipped else _NEAR):
        raise Refused(
            f"the answers of {file.name} change with the padding of a text, which replicas add (by {difference:.1e} of the "
            "largest number); use the model's ONNX file, and install inlet-endpoints[onnxruntime], which needs no padding"
        )
    return opened


def _onnx(file: Path, opening: Opening) -> Opened:
    from inlet.runtime.engines.onnxruntime import OnnxModel

    opened = Opened(OnnxModel(file, opening.head), Variant("onnxruntime", _precision(opening)))
    _check_width(_answer(opened, opening.shape, probes.SHORT), opening)
    return opened


def _precision(opening: Opening) -> str:
    return "shipped" if opening.origin.shipped else "fp32"


def _answer(opened: Opened, shape: ModelShape, size: int) -> FloatArray:
    """For a short text, filled up to `size`."""
    (lane,) = opened.graph.compile(opened.variant, threads=1).lanes()
    feed = probes.texts(shape, [probes.SHORT], size=size)
    try:
        return lane.infer(feed["input_ids"], feed["token_type_ids"], feed["attention_mask"]).copy()
    except MemoryError:
        raise
    except Exception as error:  # each engine has its own ways to fail
        raise Refused(f"the ready-made graph fails on a text of {size} tokens: {error}") from error


def _check_width(answer: FloatArray, opening: Opening) -> None:
    width = answer.shape[-1]
    if opening.labels is not None and width != opening.labels:
        raise Refused(f"config.json names {opening.labels} labels, the graph has {width}")
    if opening.labels is None and width != opening.shape.hidden:
        raise Refused(
            f"config.json says that vectors have {opening.shape.hidden} numbers, the graph's have {width}"
        )
