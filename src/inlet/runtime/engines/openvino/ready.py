"""Graphs that were made elsewhere, as lanes can run them: known inputs, one output. Called by `origins/opening`.

Reads IR and ONNX files. Changes nothing of what a graph computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines import ports
from inlet.runtime.engines.openvino._library import op, ov
from inlet.runtime.engines.openvino.model import OpenVinoModel


def read_ready_made(path: Path, head: Head) -> OpenVinoModel:
    """The graph in an `.xml` or `.onnx` file, cut to the output for `head`; `Refused` says what does not fit."""
    try:
        return OpenVinoModel(_adapted(ov.Core().read_model(str(path)), head))
    except RuntimeError as error:
        raise Refused(f"{path.name} cannot be read by OpenVINO: {_reason(error)}") from error


def _adapted(model: Any, head: Head) -> Any:
    inputs = {_name(port, ports.KNOWN_INPUTS): port.get_node() for port in model.inputs}
    ports.check_inputs(inputs)
    outputs = {_name(port, ("logits",)): port for port in model.outputs}
    ranks = {name: port.get_partial_shape().rank for name, port in outputs.items()}
    known = {name: rank.get_length() for name, rank in ranks.items() if rank.is_static}
    chosen = outputs[ports.output_for(head, known)].get_node().input_value(0)
    for node in inputs.values():
        node.set_partial_shape(ov.PartialShape([-1, -1]))
    fed = {name: _as_int64(name, node) for name, node in inputs.items() if name != ports.POSITIONS}
    if ports.POSITIONS in inputs:
        _replace(inputs[ports.POSITIONS], _positions(fed["input_ids"], inputs[ports.POSITIONS]))
    return ov.Model([chosen], list(fed.values()), "ready-made")


def _as_int64(name: str, node: Any) -> Any:
    """The parameter that lanes feed instead of `node`, which may want smaller numbers."""
    parameter = op.parameter([-1, -1], np.int64, name=name)
    parameter.output(0).set_names({name})
    _replace(node, op.convert(parameter, node.get_element_type().get_type_name()))
    return parameter


def _positions(ids: Any, node: Any) -> Any:
    """0, 1, 2, … for each text."""
    shape = op.shape_of(ids)
    zero, one = op.constant(np.int64(0)), op.constant(np.int64(1))
    row = op.range(zero, op.gather(shape, one, zero), one, node.get_element_type().get_type_name())
    return op.broadcast(row, shape)


def _replace(node: Any, other: Any) -> None:
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(other.output(0))


def _name(port: Any, known: tuple[str, ...]) -> str:
    """One of a port's names, a known one if there is any."""
    names = port.get_names()
    return next((name for name in known if name in names), min(names, default="unnamed"))


def _reason(error: RuntimeError) -> str:
    """The last line that says something: the first ones name openvino's own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
