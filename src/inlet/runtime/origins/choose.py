"""Which of a model's files its graph is made of, and why: pure, from `config.json` and the names of the files.

Called by `sources` before anything large is fetched, and by `model` for a folder; both get the same answer. The order: our
own builder where it is certain, ready-made OpenVINO files, ready-made ONNX files, weights for an export with torch.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.config import encoder_shape


class Kind(StrEnum):
    """What makes the graph."""

    BUILT = "built"
    OPENVINO = "openvino"
    ONNX = "onnx"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Origin:
    """`files`: the names of the weights or of the graph, the graph's own first. `reason`: for people.

    `shipped`: the graph was quantised by whoever made it, and is served as it is.
    """

    kind: Kind
    files: tuple[str, ...]
    reason: str
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Extras:
    """Which optional packages there are."""

    torch: bool
    onnxruntime: bool

    @classmethod
    def installed(cls) -> Extras:
        """Those of this interpreter; imports none of them."""
        found = {
            name: importlib.util.find_spec(name) is not None
            for name in ("torch", "transformers", "onnxruntime")
        }
        return cls(torch=found["torch"] and found["transformers"], onnxruntime=found["onnxruntime"])


_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_FOLDERS = ("openvino/", "onnx/", "")
_OPENVINO = ("openvino_model.xml",)
_OPENVINO_SHIPPED = ("openvino_model_qint8_quantized.xml",)
_ONNX = ("model.onnx",)
# As optimum, sentence-transformers and transformers.js name them; those for x86 first, which any CPU can compute.
_ONNX_SHIPPED = (
    "model_quantized.onnx",
    "model_int8.onnx",
    "model_qint8_avx512_vnni.onnx",
    "model_qint8_avx512.onnx",
    "model_quint8_avx2.onnx",
    "model_uint8.onnx",
    "model_qint8_arm64.onnx",
)


def origin_of(folder: Path, config: Mapping[str, Any], *, not_built: str = "") -> Origin:
    """`choose` for the files of a folder, with what is installed here."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return choose(names, config, Extras.installed(), not_built=not_built)


def choose(
    names: Collection[str], config: Mapping[str, Any], extras: Extras, *, not_built: str = ""
) -> Origin:
    """The best way there is; `Refused` says what would open one. `not_built`: why the builder gave up on the weights."""
    safetensors = _weights(names, _SAFETENSORS, "model.safetensors")
    obstacle = not_built or _obstacle(config, safetensors)
    if not obstacle:
        return Origin(Kind.BUILT, safetensors, "built from its safetensors weights")
    if files := _openvino(names, _OPENVINO):
        return Origin(Kind.OPENVINO, files, f"ready-made: {files[0]} ({obstacle})")
    if files := _onnx(names, _ONNX):
        return Origin(Kind.ONNX, files, f"ready-made: {files[0]} ({obstacle})")
    if files := _openvino(names, _OPENVINO_SHIPPED):
        return Origin(
            Kind.OPENVINO, files, f"ready-made, quantised as shipped: {files[0]} ({obstacle})", True
        )
    if extras.onnxruntime and (files := _onnx(names, _ONNX_SHIPPED)):
        return Origin(Kind.ONNX, files, f"ready-made, quantised as shipped: {files[0]} ({obstacle})", True)
    if extras.torch and (files := safetensors or _weights(names, _PICKLES, "pytorch_model.bin")):
        return Origin(Kind.EXPORT, files, f"exported with torch ({obstacle})")
    raise Refused(f"{obstacle}; {_next_step(names, safetensors, extras)}")


def _obstacle(config: Mapping[str, Any], safetensors: tuple[str, ...]) -> str:
    """Why the builder cannot be asked; empty when it can."""
    try:
        encoder_shape(config)
    except Refused as error:
        return str(error)
    return "" if safetensors else "the model has no safetensors weights (model.safetensors)"


def _next_step(names: Collection[str], safetensors: tuple[str, ...], extras: Extras) -> str:
    weights = safetensors or _weights(names, _PICKLES, "pytorch_model.bin")
    if _onnx(names, _ONNX_SHIPPED):
        return (
            "its quantised ONNX file needs ONNX Runtime: install inlet-endpoints[onnxruntime], or add the file in full "
            "precision (onnx/model.onnx)"
        )
    if weights and not extras.torch:
        return (
            "install inlet-endpoints[torch], which can export it, or convert it with "
            "`optimum-cli export openvino --model MODEL FOLDER` and serve the folder"
        )
    return (
        "save the model with `model.save_pretrained(folder, safe_serialization=True)`, or convert it with "
        "`optimum-cli export openvino --model MODEL FOLDER`, and serve the folder"
    )


def _weights(names: Collection[str], pattern: re.Pattern[str], whole: str) -> tuple[str, ...]:
    """One set of weights: the file with all of them, or the index and the shards that it names."""
    if whole in names:
        return (whole,)
    index = f"{whole}.index.json"
    shards = sorted(name for name in names if pattern.fullmatch(name))
    return (index, *shards) if index in names and shards else ()


def _openvino(names: Collection[str], files: tuple[str, ...]) -> tuple[str, ...]:
    for graph in (folder + file for folder in _FOLDERS for file in files):
        data = graph.removesuffix(".xml") + ".bin"
        if graph in names and data in names:
            return graph, data
    return ()


def _onnx(names: Collection[str], files: tuple[str, ...]) -> tuple[str, ...]:
    """The graph and, where its weights lie beside it, their files."""
    for graph in (folder + file for file in files for folder in _FOLDERS):
        if graph in names:
            data = re.compile(re.escape(graph) + r"[._]data(_\d+)?")
            return graph, *sorted(name for name in names if data.fullmatch(name))
    return ()
