"""The folder of artifacts: found by key, kept under the hash of their content, made by one process at a time.

    keys/<key>          the name of the artifact that was made for that key: from then on the choice is fixed
    <digest>/           manifest.json and the graph's files, never changed
    building/<key>/     of the process that holds locks/<key>; whatever an earlier one left is removed
    locks/@<machine>    held by the one process of that machine that computes
    exports/<name>/     graphs that torch exported, as they came
    failed/<key>        how often a build began and did not end, so that one that kills its replica is not tried for ever
    engine/<digest>/    what engines keep of an artifact for their next start

A replica holds the manifest of the artifact that it uses (`locks.use`), whose time of change is when one was last taken.

Called by `make`, `choice`, `prune` and `inlet artifact`; `control/artifacts.py` serves its finished folders as they are. Several replicas of this machine share it, and with it the page cache.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inlet.core.errors import NotFound, Refused
from inlet.process import private_folder, write_private
from inlet.runtime import contents, locks
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.manifest import Manifest

GRAPH = "graph.xml"
MANIFEST = "manifest.json"
_FILES = (GRAPH, "graph.bin")
_ROOM = 1_000_000_000  # bytes that a download leaves free: others write to this disk, too
_FORGOTTEN_S = 3600.0  # a replica that was stopped thrice in its first minute has nothing wrong with it
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One that is complete."""

    folder: Path
    manifest: Manifest

    @property
    def engine_cache(self) -> Path:
        """Where engines keep what they made of it."""
        return self.folder.parent / "engine" / self.folder.name

    @property
    def graph(self) -> Path | None:
        """The file of the chosen variant's graph; None when it is made from the model's own files."""
        return self.folder / GRAPH if GRAPH in self.manifest.files else None


class Store:
    """Everything below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def engine_caches(self) -> Path:
        return self.folder / "engine"

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    def find(self, key: str) -> Artifact | None:
        """The artifact of that key; None when there is none that is whole."""
        try:
            return self.get((self.folder / "keys" / key).read_text())
        except (OSError, UnicodeDecodeError, NotFound, Refused):
            return None

    def get(self, name: str) -> Artifact:
        """The artifact of that digest, or of an unambiguous beginning of it."""
        matches = [path for path in self.folders() if name and path.name.startswith(name)]
        if len(matches) != 1:
            how = "no" if not matches else "more than one"
            raise NotFound(f"there is {how} artifact {name!r}; `inlet artifact list` shows all")
        (folder,) = matches
        manifest = Manifest.load((folder / MANIFEST).read_bytes())
        lost = contents.missing(folder, manifest.files)
        if lost is not None:
            raise Refused(f"the artifact {folder.name[:12]} has lost {lost}; remove it and build it again")
        return Artifact(folder, manifest)

    def use(self, artifact: Artifact) -> bool:
        """Keep `prune` from removing it as long as this process lives; False if it was removed already."""
        return locks.use(artifact.folder / MANIFEST)

    def all(self) -> list[Artifact]:
        """Every whole artifact, the newest first."""
        found = []
        for folder in self.folders():
            with contextlib.suppress(NotFound, Refused, OSError):
                found.append(self.get(folder.name))
        return sorted(found, key=lambda artifact: artifact.manifest.made_at, reverse=True)

    def remove(self, artifact: Artifact) -> None:
        """Forget it; who needs it again makes it again, and its choice may then be another."""
        self.clear(artifact.folder)

    def clear(self, folder: Path) -> None:
        """Remove the folder of an artifact, whole or damaged, and all that refers to it."""
        for path in (self.folder / "keys").glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process removes it, too
                if path.read_bytes() == folder.name.encode():
                    path.unlink()
        for path in (folder, self.engine_caches / folder.name):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)

    def intact(self, artifact: Artifact) -> bool:
        """Whether its files are what its manifest says. Reads them whole."""
        return contents.intact(artifact.folder, artifact.manifest.files)

    def lock(self, key: str) -> Path:
        """What the process holds that makes the artifact of that key."""
        return self.folder / "locks" / key

    @contextlib.contextmanager
    def building(self, key: str, report: Report = lambda _: None) -> Iterator[Path]:
        """An empty folder for the one process that may make the artifact of that key; waits while another does."""
        private_folder(private_folder(self.folder) / "locks")
        with locks.turn(self.lock(key), report, "waiting while another process builds this model"):
            draft = self.folder / "building" / key
            try:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def computing(self, report: Report) -> contextlib.AbstractContextManager[None]:
        """Around what takes all cores and gigabytes: on each machine one at a time, or they starve each other and time falsely."""
        here = self.lock(f"@{platform.node()}")
        return locks.turn(here, report, "waiting while another model is built on this machine")

    def publish(self, key: str, draft: Path, manifest: Manifest) -> Artifact:
        """Make the files in `draft` the artifact of that key. Within `building`."""
        (draft / MANIFEST).write_bytes(manifest.dump())
        folder = self.folder / manifest.digest
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        write_private(private_folder(self.folder / "keys") / key, manifest.digest)
        self.ended(key)
        return Artifact(folder, manifest)

    def adopt(self, manifest: Manifest, fetch: Callable[[str], Iterable[bytes]]) -> Artifact:
        """Take over an artifact that another machine made: `fetch(name)` brings each file in pieces.

        `Refused` if one is not what the manifest says, or there is no room for them; nothing of it can be seen then.
        """
        self._check_files(manifest)
        key = identity.digest(manifest.key)
        with self.building(key) as draft:
            found = self.find(key)
            if found is not None:  # made meanwhile: a choice stays as it is
                return found
            for name, entry in manifest.files.items():
                if not contents.receive(fetch(name), draft / name, entry):
                    raise Refused(f"{name} of the artifact arrived damaged; try again")
            return self.publish(key, draft, manifest)

    def _check_files(self, manifest: Manifest) -> None:
        """That they may be taken at all: another server made them up."""
        strange = next((name for name in manifest.files if name not in _FILES), None)
        if strange is not None:
            raise Refused(f"the artifact has a file {strange!r}, which none has")
        needed = sum(entry["size"] for entry in manifest.files.values())
        free = shutil.disk_usage(private_folder(self.folder)).free - _ROOM
        if needed > free:
            raise Refused(
                f"the artifact takes {needed / 1e6:.0f} MB, and {max(free, 0) / 1e6:.0f} MB of this disk may be used; make room, "
                "for example with `inlet artifact prune`"
            )

    def failures(self, key: str) -> int:
        """How many builds for that key began and did not end, if the last one was not long ago."""
        path = self._failures(key)
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text()) if time.time() - path.stat().st_mtime < _FORGOTTEN_S else 0
        return 0

    def begin(self, key: str) -> None:
        """Count a build as failed until it has `ended`."""
        private_folder(self.folder / "failed")
        write_private(self._failures(key), str(self.failures(key) + 1))

    def ended(self, key: str) -> None:
        """Builds for that key do end."""
        self._failures(key).unlink(missing_ok=True)

    def cancelled(self, key: str) -> None:
        """Take back that one began: it was stopped with whoever waited for it, which says nothing about the next one."""
        before = self.failures(key) - 1
        if before > 0:
            write_private(self._failures(key), str(before))
        else:
            self.ended(key)

    def _failures(self, key: str) -> Path:
        return self.folder / "failed" / key

    def folders(self) -> list[Path]:
        """Those of all artifacts, damaged ones too."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if (path / MANIFEST).is_file())
