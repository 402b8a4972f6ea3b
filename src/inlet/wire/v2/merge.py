"""What an update does to a stored document: a deep merge in which null leaves things as they are.

Called by `parse` only. Knows nothing of types: what comes out is validated as a whole afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# One-ofs, and maps whose set of keys is the value: replaced as a whole, or nothing could ever leave them.
_WHOLE = frozenset({"model.image", "model.env", "model.secrets", "compute.scaling.measure"})


def merge(document: Mapping[str, Any], patch: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A new document: objects are merged, anything else (lists too) replaces, null changes nothing."""
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            continue
        here = f"{path}{key}"
        if isinstance(value, Mapping) and here not in _WHOLE:
            stored = merged.get(key)
            merged[key] = merge(stored if isinstance(stored, Mapping) else {}, value, f"{here}.")
        else:
            merged[key] = value
    if path == "compute.scaling.":
        _newest_measure(merged, patch)
    return merged


def _newest_measure(scaling: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """`measure`, and the older pair `metric` and `threshold`, say the same thing: the one sent last counts."""
    if patch.get("measure") is not None:
        for key in {"metric", "threshold"} - {key for key, value in patch.items() if value is not None}:
            scaling.pop(key, None)
    elif patch.get("metric") is not None:
        scaling.pop("measure", None)
