"""What an artifact depends on, as one key: the model's files, what is asked of them, the engine, and this kind of CPU.

Two starts with the same key get the same artifact. Called by `choice`, `make`, `worker`, `store` and `inlet artifact pull`. Reads files' names and times, never weights.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Raised when the same model and CPU would get another artifact: other graphs, other candidates, other thresholds.
_BUILD = 3
_ENGINES = ("openvino",)
_EXPORTERS = ("inlet-endpoints", "openvino", "torch", "transformers")
# What decides which kernels an engine has. Two CPUs that agree in these and in the model number are of one class.
_FLAGS = frozenset(
    (
        *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimddp", "i8mm", "bf16", "sve"),
    )
)
_IDENTIFYING = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")


def key_of(folder: Path, *, revision: str | None, head: str, precision: str) -> dict[str, Any]:
    """`revision`: `repository@commit`, or None for a folder that may change. `precision`: as pinned, or `auto`."""
    return {
        "build": _BUILD,
        "model": revision or _fingerprint(folder),
        "head": head,
        "precision": precision,
        "engines": _versions(_ENGINES),
        "cpu": cpu_class(),
    }


def fits(key: Mapping[str, Any]) -> bool:
    """Whether an artifact of that key, whatever its model, is of use on this machine."""
    needed = {"build": _BUILD, "engines": _versions(_ENGINES), "cpu": cpu_class()}
    return all(key.get(name) == value for name, value in needed.items())


def export_name(folder: Path, *, revision: str | None, head: str) -> str:
    """What an export with torch depends on, as a name."""
    return digest(
        {"model": revision or _fingerprint(folder), "head": head, "versions": _versions(_EXPORTERS)}
    )


def digest(key: Mapping[str, Any]) -> str:
    """The key as a name."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@cache
def cpu_class() -> str:
    """The kind of this machine's CPU: vendor, family, model, and the instructions that engines care about."""
    found: dict[str, str] = {}
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name in _IDENTIFYING:
                found.setdefault(name, value)
            elif name in ("flags", "Features"):
                flags = flags or set(value.split())
    except OSError:  # not Linux
        found = {"vendor_id": platform.processor()}
    parts = [platform.machine(), *found.values(), *sorted(_FLAGS & flags)]
    return " ".join(part for part in parts if part)


def _versions(packages: Iterable[str]) -> dict[str, str | None]:
    """None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _fingerprint(folder: Path) -> str:
    """Changes whenever a file of the folder does, as far as names, sizes and times tell. Reading the weights at each
    start would cost more than the engine's own start.
    """
    found = sorted(
        (str(path.relative_to(folder)), state.st_size, state.st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and (state := path.stat())
    )
    return "folder:" + hashlib.sha256(json.dumps(found).encode()).hexdigest()
