"""Runs the export (`build/export`) in a process of its own and keeps what came of it. Called by `opening`.

A process of its own: torch takes gigabytes and seconds that a replica which serves the graph must not pay for, and tracing
may crash in native code. A folder is only there once it is whole, and says what is in it, so that damage is seen and mended.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused, Unavailable
from inlet.process import private_folder
from inlet.runtime import apart, contents, locks
from inlet.runtime.build.encoder import Head

CONTENTS = "contents.json"
"""Of a finished export; held (`locks.use`) by the replicas that opened it."""
LOCK = "lock"
"""Beside the exports: held by the one process that makes one."""
DRAFT = ".draft"
"""The end of the name of one that is being made."""
_GRAPH, _REASON = "model.xml", "torch.txt"
_log = logging.getLogger(__name__)


class NotExported(Exception):
    """Only torch computes this model; `str()` is the reason."""


def exported(
    model: Path, head: Head, into: Path, report: Callable[[str], None], *, suspect: bool = False
) -> Path:
    """The graph's `.xml` file in `into`, made unless it is there. `NotExported`, `Refused`, `Unavailable`, `MemoryError`.

    `into` belongs to these files, this head and this version of Inlet; that a model does not export is kept there as well.
    `suspect`: what is there did not work, so it is read whole, and made again if it is damaged.
    """
    if suspect or not _whole(into):
        _make(model, head, into, report, suspect=suspect)
    locks.use(into / CONTENTS)
    reason_file = into / _REASON
    if reason_file.is_file():
        raise NotExported(reason_file.read_text())
    return into / _GRAPH


def _make(model: Path, head: Head, into: Path, report: Callable[[str], None], *, suspect: bool) -> None:
    """One process at a time: it takes gigabytes. What an earlier one left when it was killed is removed."""
    lock = private_folder(into.parent) / LOCK
    draft = into.with_name(into.name + DRAFT)
    with locks.turn(lock, report, "waiting while another model is exported"):
        if _whole(into, thorough=suspect):
            return
        if into.is_dir():
            _log.warning("the export in %s is damaged, and made again", into.name[:12])
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            if reason := _run(model, head, draft, report):
                (draft / _REASON).write_text(reason)
            (draft / CONTENTS).write_text(json.dumps(contents.described(draft)))
            shutil.rmtree(into, ignore_errors=True)
            draft.rename(into)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _whole(into: Path, *, thorough: bool = False) -> bool:
    """Whether all is there, by the files' sizes; `thorough`, by what is in them."""
    try:
        wanted = json.loads((into / CONTENTS).read_bytes())
        return contents.intact(into, wanted) if thorough else contents.missing(into, wanted) is None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _run(model: Path, head: Head, out: Path, report: Callable[[str], None]) -> str:
    """Why torch must compute it itself; empty when the graph is in `out`."""
    flags = ["--model", str(model), "--head", head, "--out", str(out)]
    said: dict[str, Any] = {}

    def hear(line: Mapping[str, Any]) -> None:
        said.update(line)
        if "progress" in line:
            report(line["progress"])

    code = apart.run("the export", "inlet.runtime.build.export", flags, hear, env={"HF_HUB_OFFLINE": "1"})
    if code == -9:
        raise MemoryError("the export was killed, most likely because memory ran out")
    if "refused" in said:
        raise Refused(said["refused"])
    if "torch" in said:
        return str(said["torch"])
    if "exported" in said and code == 0:
        return ""
    raise Unavailable(f"the export ended with {code}; its last lines are in the log")
