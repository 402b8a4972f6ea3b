"""The files of a repository that transformers opens a model from: pure, from their names. Called before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Collection

# The same weights for other programs, and what is no part of a model at all.
_OTHERS = re.compile(
    r".*\.(h5|msgpack|ot|onnx|onnx_data|tflite|mlmodel|mlpackage|pb|gguf|ckpt|pth|tar|zip|gz|md|png|jpe?g|gif|mp4)"
    r"|(onnx|openvino|coreml|flax|tf|original)/.*|openvino_.*|\.git.*|.*/\.git.*",
    re.IGNORECASE | re.DOTALL,
)


def needed(names: Collection[str], *, code: bool) -> set[str]:
    """What it may want. Pickled weights only where there are no others, Python files only with `code`."""
    wanted = {name for name in names if not _OTHERS.fullmatch(name) and (code or not name.endswith(".py"))}
    safe = any(name.endswith(".safetensors") for name in wanted)
    return {name for name in wanted if not (safe and name.endswith(".bin"))}
