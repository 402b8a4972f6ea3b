"""Runs the export (`build/export`) in a process of its own and keeps what came of it. Called by `opening`.

A process of its own: torch takes gigabytes and seconds that a replica which serves the graph must not pay for, and tracing
may crash in native code. It dies with whoever started it; a folder is only there once it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from inlet.core.errors import Refused, Unavailable
from inlet.process import PARENT_VARIABLE, lock_file, private_folder
from inlet.runtime.build.encoder import Head

_GRAPH, _REASON = "model.xml", "torch.txt"


class NotExported(Exception):
    """Only torch computes this model; `str()` is the reason."""


def exported(model: Path, head: Head, into: Path, report: Callable[[str], None]) -> Path:
    """The graph's `.xml` file in `into`, made unless it is there. `NotExported`, `Refused`, `Unavailable`, `MemoryError`.

    `into` belongs to these files, this head and this version of Inlet; that a model does not export is kept there as well.
    """
    if not into.is_dir():
        _make(model, head, into, report)
    reason_file = into / _REASON
    if reason_file.is_file():
        raise NotExported(reason_file.read_text())
    return into / _GRAPH


def _make(model: Path, head: Head, into: Path, report: Callable[[str], None]) -> None:
    """One process at a time: it takes gigabytes. What an earlier one left when it was killed is removed."""
    lock = lock_file(private_folder(into.parent) / f"{into.name}.lock", within=None)
    assert lock is not None  # noqa: S101 - without `within` it waits
    draft = into.with_name(f"{into.name}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        if into.is_dir():
            return
        draft.mkdir()
        if reason := _run(model, head, draft, report):
            (draft / _REASON).write_text(reason)
        draft.rename(into)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _run(model: Path, head: Head, out: Path, report: Callable[[str], None]) -> str:
    """Why torch must compute it itself; empty when the graph is in `out`."""
    command = [sys.executable, "-m", "inlet.runtime.build.export"]
    flags = ["--model", str(model), "--head", head, "--out", str(out)]
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "HF_HUB_OFFLINE": "1"}
    told: dict[str, str] = {}
    with subprocess.Popen(
        [*command, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            said = json.loads(line)
            if "progress" in said:
                report(said["progress"])
            told |= said
    if process.returncode == -9:
        raise MemoryError("the export was killed, most likely because memory ran out")
    if "refused" in told:
        raise Refused(told["refused"])
    if "torch" in told:
        return told["torch"]
    if "exported" in told and process.returncode == 0:
        return ""
    raise Unavailable(f"the export ended with {process.returncode}; its last lines are in the log")
