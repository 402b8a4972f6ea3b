"""Reads safetensors files: an 8-byte length, a JSON header, raw little-endian values.

Files are mapped copy-on-write: nothing is read before it is used, F32 tensors are views of the mapping, and the engine
accepts them (it refuses read-only memory). Used by `build/encoder` through `Weights`. Never writes.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inlet.core.errors import Refused
from inlet.runtime.engines.base import Array, FloatArray

_MAX_HEADER = 100_000_000
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


class _File:
    """One mapped file; the arrays that it hands out keep the mapping alive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                raise MemoryError(str(error)) from error
            raise Refused(f"{path.name} cannot be read: {error}") from error
        size = int.from_bytes(self._map[:8], "little")
        if len(self._map) < 8 or size > min(_MAX_HEADER, len(self._map) - 8):
            raise Refused(f"{path.name} is not a safetensors file, or was cut off; download it again")
        self._start = 8 + size
        try:
            header = json.loads(self._map[8 : self._start])
        except ValueError as error:
            raise Refused(f"{path.name} has a damaged safetensors header; download it again") from error
        if not isinstance(header, dict):
            raise Refused(f"{path.name} has a damaged safetensors header; download it again")
        header.pop("__metadata__", None)
        if not all(_is_entry(entry) for entry in header.values()):
            raise Refused(f"{path.name} has a damaged safetensors header; download it again")
        self.entries: Mapping[str, Any] = header

    def read(self, name: str) -> FloatArray:
        entry = self.entries[name]
        kind, shape = entry.get("dtype"), entry["shape"]
        if kind not in _DTYPES:
            raise Refused(f"tensor {name} has type {kind}; supported: {', '.join(_DTYPES)}")
        begin, end = entry["data_offsets"]
        dtype, count = _DTYPES[kind], int(np.prod(shape, dtype=np.int64))
        if end - begin != count * dtype.itemsize or self._start + end > len(self._map):
            raise Refused(f"{self._path.name} was cut off at tensor {name}; download it again")
        raw = np.frombuffer(self._map, dtype=dtype, count=count, offset=self._start + begin).reshape(shape)
        if kind == "BF16":  # bfloat16 is the upper half of a float32
            return np.asarray((raw.astype(np.uint32) << 16).view(np.float32))
        # A view where the file allows it; old writers did not align the values.
        return raw if kind == "F32" and raw.flags.aligned else raw.astype(np.float32)


class Weights:
    """All tensors of a model folder by name, as float32; remembers which ones were asked for."""

    def __init__(self, files: Mapping[str, _File]) -> None:
        self._files = files
        self._used: set[str] = set()

    @classmethod
    def open(cls, folder: Path) -> Weights:
        """Map `model.safetensors`, or the shards named by its index; `Refused` says what is missing."""
        single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        if single.is_file():
            file = _File(single)
            return cls(dict.fromkeys(file.entries, file))
        if not index.is_file():
            raise Refused(
                "the model has no safetensors weights (model.safetensors): convert them with "
                "`model.save_pretrained(folder, safe_serialization=True)` and upload them"
            )
        weight_map = _weight_map(index)
        shards = {name: _File(folder / name) for name in sorted(set(weight_map.values()))}
        for name, shard in weight_map.items():
            if name not in shards[shard].entries:
                raise Refused(f"{index.name} says that {shard} holds {name}, but it does not")
        return cls({name: shards[shard] for name, shard in weight_map.items()})

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor of that name, which must have that shape."""
        if name not in self._files:
            raise Refused(f"the weights lack the tensor {name}")
        found = tuple(self._files[name].entries[name]["shape"])
        if found != shape:
            raise Refused(f"tensor {name} has shape {list(found)}, the configuration says {list(shape)}")
        self._used.add(name)
        return self._files[name].read(name)

    def rows(self, name: str) -> int:
        """Length of the first axis of a tensor; 0 when there is none of that name."""
        return int(self._files[name].entries[name]["shape"][0]) if name in self._files else 0

    @property
    def fp32_bytes(self) -> int:
        """What all numbers take in float32."""
        return sum(4 * math.prod(file.entries[name]["shape"]) for name, file in self._files.items())

    def unused(self) -> list[str]:
        """Names that nobody has taken, sorted."""
        return sorted(set(self._files) - self._used)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    return (
        isinstance(shape, list)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(isinstance(number, int) and number >= 0 for number in (*shape, *offsets))
    )


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
        names = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{index.name} is damaged; download it again") from error
    if any("/" in shard or not shard.endswith(".safetensors") for shard in names.values()):
        raise Refused(f"{index.name} names a file that is not a safetensors file beside it")
    return names
