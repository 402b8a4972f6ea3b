"""How the numbers of a GGUF file are stored: what may be asked for. Read by `conversion`, `__main__` and `tensors`."""

from __future__ import annotations

from enum import StrEnum


class Storage(StrEnum):
    """Of matrices; vectors are always float32."""

    Q8_0 = "q8_0"
    """Eight bits each, and a scale for every 32 numbers."""
    F16 = "f16"
    AUTO = "auto"
    """What config.json says that the model is computed in."""
