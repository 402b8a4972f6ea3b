"""Tensors of the Open Inference Protocol: as JSON, and in the extension for binary data. Used by `openinference`; knows no model."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind
from inlet.runtime.engines.base import Array
from inlet.runtime.protocols.fields import Fields, mapping

BYTES = "BYTES"
_TYPES: Mapping[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_LONGEST = 2**31 - 1  # of the sizes in a shape
_LENGTH = struct.Struct("<I")  # before each item of a binary tensor of bytes


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """`values` has the tensor's shape; of `BYTES` they are objects: strings."""

    name: str
    datatype: str
    values: Array

    def described(self) -> dict[str, Any]:
        """All of it but its values."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.values.shape)}

    def listed(self) -> Any:
        """Its values one after another, as JSON can be made of them."""
        flat = self.values.ravel()
        return flat.tolist() if self.datatype == BYTES else flat

    def packed(self) -> bytes:
        """Its values as the extension has them."""
        if self.datatype != BYTES:
            return self.values.astype(np.dtype(_TYPES[self.datatype])).tobytes()
        items = [item.encode() for item in self.values.ravel().tolist()]
        return b"".join(_LENGTH.pack(len(item)) + item for item in items)


def of_numbers(name: str, values: Any, datatype: str | None = None) -> Tensor:
    """Numbers, booleans or strings, nested as the tensor is; in the type that they have, unless one is named."""
    array = np.array(values, dtype=None if datatype is None else _TYPES[datatype])
    if datatype is not None:
        return Tensor(name, datatype, array)
    if array.dtype.kind in "OUS":
        return of_strings(name, np.vectorize(str, otypes=[object])(array) if array.size else array)
    return Tensor(name, {"b": "BOOL", "i": "INT64", "u": "UINT64"}.get(array.dtype.kind, "FP64"), array)


def of_strings(name: str, values: Any) -> Tensor:
    """Strings, nested as the tensor is."""
    return Tensor(name, BYTES, np.array(values, dtype=object))


def read_tensors(given: Any, binary: bytes) -> list[Tensor]:
    """The tensors of a request; `binary`: what came after its JSON. `Invalid` names the tensor that is wrong."""
    if not isinstance(given, list) or not given:
        raise Invalid('expected a list of tensors: {"name", "shape", "datatype", "data"}', field="inputs")
    found: dict[str, Tensor] = {}
    at = 0
    for index, item in enumerate(given):
        field = f"inputs[{index}]"
        tensor, size = _read(item, field, memoryview(binary)[at:])
        if tensor.name in found:
            raise Invalid(f"there are two tensors {tensor.name!r}", field=f"{field}.name")
        found[tensor.name] = tensor
        at += size
    if at != len(binary):
        raise Invalid(f"{len(binary) - at} bytes of binary data belong to no tensor", field="inputs")
    return list(found.values())


def _read(item: Any, field: str, binary: memoryview) -> tuple[Tensor, int]:
    p = Fields(mapping(item, field), {"name", "datatype", "data"}, prefix=field)
    name, datatype = p.string("name", None), p.string("datatype", None)
    if not name:
        raise Invalid("missing", field=f"{field}.name")
    if datatype not in (BYTES, *_TYPES):
        raise Invalid(f"expected one of {BYTES}, {', '.join(_TYPES)}", field=f"{field}.datatype")
    shape = _shape(item.get("shape"), f"{field}.shape")
    size = _binary_size(item, field)
    if size is None:
        values = _from_json(item.get("data"), datatype, f"{field}.data")
    elif size > len(binary):
        raise Invalid(
            f"only {len(binary)} bytes of binary data are left", field=f"{field}.parameters.binary_data_size"
        )
    else:
        values = _from_binary(binary[:size], datatype, field)
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise Invalid(f"a number is infinite, or out of the range of {datatype}", field=f"{field}.data")
    if len(values) != prod(shape):
        raise Invalid(f"{len(values)} values, but its shape {shape} has {prod(shape)}", field=f"{field}.data")
    return Tensor(name, datatype, values.reshape(shape)), size or 0


def _shape(value: Any, field: str) -> list[int]:
    sizes = value if isinstance(value, list) else None
    if sizes is None or not 0 < len(sizes) <= 8 or not all(type(size) is int and size >= 0 for size in sizes):
        raise Invalid("expected a list of 1 to 8 whole numbers, 0 or more", field=field)
    if max(sizes) > _LONGEST:
        raise Invalid(f"must be at most {_LONGEST} each, got {max(sizes)}", field=field)
    return sizes


def _binary_size(item: Mapping[str, Any], field: str) -> int | None:
    parameters = mapping(item.get("parameters"), f"{field}.parameters")
    return Fields(parameters, {"binary_data_size"}, prefix=f"{field}.parameters").integer(
        "binary_data_size", None
    )


def _from_json(data: Any, datatype: str, field: str) -> Array:
    """Its values one after another, however they are nested."""
    if not isinstance(data, list):
        raise Invalid(f"expected a list, got {kind(data)}", field=field)
    while data and all(isinstance(item, list) for item in data):
        data = list(chain.from_iterable(data))
    wanted: Sequence[type]
    if datatype == BYTES:
        wanted, words = (str,), "a string"
    elif datatype == "BOOL":
        wanted, words = (bool,), "true or false"
    elif datatype.startswith("FP"):
        wanted, words = (int, float, type(None)), "a number"
    else:
        wanted, words = (int,), "a whole number"
    for item in data:
        if type(item) not in wanted:
            raise Invalid(f"expected {words}, got {kind(item)}", field=field)
    if datatype == BYTES:
        return np.array(data, dtype=object)
    try:
        with np.errstate(over="ignore"):
            return np.array(data, dtype=_TYPES[datatype])
    except OverflowError as error:
        raise Invalid(f"a number is out of the range of {datatype}", field=field) from error


def _from_binary(data: memoryview, datatype: str, field: str) -> Array:
    if datatype != BYTES:
        dtype = np.dtype(_TYPES[datatype])
        if len(data) % dtype.itemsize:
            raise Invalid(f"{len(data)} bytes are no whole number of {datatype}", field=f"{field}.data")
        return np.frombuffer(data, dtype=dtype)
    items, at = [], 0
    while at < len(data):
        end = at + _LENGTH.size
        length = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else len(data)
        if end + length > len(data):
            raise Invalid("its binary data ends within a text", field=f"{field}.data")
        try:
            items.append(bytes(data[end : end + length]).decode())
        except UnicodeDecodeError as error:
            raise Invalid("expected texts in UTF-8", field=f"{field}.data") from error
        at = end + length
    return np.array(items, dtype=object)
