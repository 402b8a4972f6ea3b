"""What files are, in numbers: hash and size. Called by `artifact/store` and `origins/exports`, which keep them beside the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Contents = Mapping[str, Mapping[str, Any]]
"""`sha256` and `size` of files, by name."""


def described(folder: Path) -> Contents:
    """Of each file in the folder. Reads them whole."""
    return {path.name: _entry(path) for path in sorted(folder.iterdir())}


def missing(folder: Path, contents: Contents) -> str | None:
    """The first file that is not there in its whole size; None when all are."""
    for name, entry in contents.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            return name
    return None


def intact(folder: Path, contents: Contents) -> bool:
    """Whether the files are what was described. Reads them whole."""
    try:
        return all(_entry(folder / name) == entry for name, entry in contents.items())
    except OSError:
        return False


def receive(pieces: Iterable[bytes], path: Path, entry: Mapping[str, Any]) -> bool:
    """Write the pieces to a new file; whether they are what was described. Stops at the first byte too many."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for piece in pieces:
            size += len(piece)
            if size > entry["size"]:
                return False
            digest.update(piece)
            file.write(piece)
    return {"sha256": digest.hexdigest(), "size": size} == entry


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}
