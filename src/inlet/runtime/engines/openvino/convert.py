"""From a torch module to a graph. Only for the export's process (`build/export`): it imports OpenVINO's model converter,
which `_library` keeps out of every other process, so this module must be imported before the rest of the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov

from inlet.runtime.engines.openvino.model import OpenVinoModel


def convert(module: Any, example: dict[str, Any], output: str) -> OpenVinoModel:
    """The graph of a module whose `forward` takes the tensors of `example`, int64 [B, L], in that order, and returns `output`.

    Raises whatever the converter raises, and `ValueError` when the graph has other inputs than the module.
    """
    model = ov.convert_model(
        module, example_input=tuple(example.values()), input=[([-1, -1], np.int64)] * len(example)
    )
    if len(model.inputs) != len(example):
        raise ValueError(f"the graph has {len(model.inputs)} inputs, the model {len(example)}")
    for port, name in zip(model.inputs, example, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    model.outputs[0].get_tensor().set_names({output})
    return OpenVinoModel(model)
