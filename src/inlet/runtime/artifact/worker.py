"""Starts the process that makes an artifact, and waits for it. Called by `choice` and by `inlet artifact build`.

A process of its own: a build takes more memory and time than serving, may crash in native code, and must not hold up a
request. It dies with whoever started it; what it left is cleared away by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused, Unavailable
from inlet.process import EX_CONFIG
from inlet.runtime import apart
from inlet.runtime.artifact.identity import export_name
from inlet.runtime.artifact.store import Store


@dataclass(frozen=True, slots=True)
class Job:
    """What to build, and where: everything that the process must know.

    `location` names the model, whose files are in `folder`; `commit` as on the Hub.
    """

    folder: Path
    location: str
    commit: str | None
    task: str
    precision: str
    threads: int
    store: Path
    samples: Path | None = None
    background: bool = False

    @property
    def revision(self) -> str | None:
        """What never changes; None for a folder that may."""
        return None if self.commit is None else f"{self.location}@{self.commit}"

    def exports(self, head: str) -> Path:
        """Where the graph is that torch exported for this model, if it is one of those."""
        return Store(self.store).exports / export_name(self.folder, revision=self.revision, head=head)

    def arguments(self) -> list[str]:
        """As flags of `python -m inlet.runtime.artifact`."""
        given = {
            "folder": self.folder, "location": self.location, "commit": self.commit, "task": self.task, "precision": self.precision,
            "threads": self.threads, "store": self.store, "samples": self.samples,
        }  # fmt: skip
        flags = [
            part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))
        ]
        return [*flags, "--background"] if self.background else flags


def run(job: Job, report: Callable[[str], None], *, silence: float = apart.LONGEST_SILENCE_S) -> str:
    """The digest of the artifact. `Refused` with the reason of the process, `Unavailable` when it ended without one or said
    nothing for `silence` seconds, `apart.Cancelled` when it was stopped on purpose.
    """
    said: dict[str, str] = {}

    def hear(line: Mapping[str, Any]) -> None:
        said.update(line)
        if "progress" in line:
            report(line["progress"])

    try:
        code = apart.run("the build", "inlet.runtime.artifact", job.arguments(), hear, silence=silence)
    except (apart.Cancelled, KeyboardInterrupt):
        if "began" in said:
            Store(job.store).cancelled(said["began"])
        raise
    except Unavailable as error:
        raise Unavailable(f"{error}; the last that it said: {said.get('progress', 'nothing')}") from None
    if "artifact" in said and code == 0:
        return said["artifact"]
    if code == EX_CONFIG:
        raise Refused(said["refused"])
    raise Unavailable(_end(code))


def _end(code: int) -> str:
    if code == -9:
        return "the build was killed, most likely because memory ran out; choose a larger instance"
    return f"the build ended with {code}; its last lines are in the log"
