"""Runs the conversion (`__main__`) in a process of its own and keeps its file. Called by `loader`.

A process of its own: numpy's copies of large tensors must not stay with a replica, and llama.cpp may crash on a file. A file
is only there once it is whole and was checked; replicas of this machine share it, and with it the page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused, Unavailable
from inlet.process import private_folder
from inlet.runtime import apart, locks
from inlet.runtime.artifact import identity
from inlet.runtime.gguf.storage import Storage

DRAFT = ".draft"
"""The end of the name of one that is being made."""
LOCK = "lock"
"""Beside the files: held by the one process that makes one."""
# Raised when the same model would become another file.
_CONVERTER = 1


def file_name(folder: Path, *, revision: str | None, storage: Storage) -> str:
    """What the file of that model depends on, as a name. `revision` as for `identity.key_of`."""
    model = identity.key_of(folder, revision=revision, head="", precision="")["model"]
    key = {"converter": _CONVERTER, "model": model, "storage": storage, "llama.cpp": _llama_cpp()}
    return f"{identity.digest(key)}.gguf"


def converted(
    folder: Path,
    into: Path,
    report: Callable[[str], None],
    *,
    revision: str | None,
    storage: Storage = Storage.Q8_0,
) -> Path:
    """The GGUF file of that model below `into`, made unless it is there, and kept while this process lives.

    `Refused` when the model cannot be one, `Unavailable` when the process ended without a reason, `MemoryError`.
    """
    file = private_folder(into) / file_name(folder, revision=revision, storage=storage)
    while not locks.use(file):
        with locks.turn(into / LOCK, report, "waiting while another model is turned into a GGUF file"):
            if not file.is_file():
                _run(folder, file, storage, report)
    return file


def _run(folder: Path, file: Path, storage: Storage, report: Callable[[str], None]) -> None:
    flags = ["--model", str(folder), "--out", str(file), "--type", storage]
    said: dict[str, Any] = {}

    def hear(line: Mapping[str, Any]) -> None:
        said.update(line)
        if "progress" in line:
            report(line["progress"])

    try:
        code = apart.run("the conversion", "inlet.runtime.gguf", flags, hear)
    finally:
        file.with_name(file.name + DRAFT).unlink(missing_ok=True)  # of a process that was killed
    if "refused" in said:
        raise Refused(said["refused"])
    if code == -9:
        raise MemoryError("the conversion was killed, most likely because memory ran out")
    if "converted" not in said:
        raise Unavailable(f"the conversion ended with {code}; its last lines are in the log")


def _llama_cpp() -> str | None:
    """None if it is not installed. Another version may split texts in another way, and has to be asked again."""
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return None
