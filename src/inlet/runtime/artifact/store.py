"""The folder of artifacts: found by key, kept under the hash of their content, made by one process at a time.

    keys/<key>          the name of the artifact that was made for that key: from then on the choice is fixed
    <digest>/           manifest.json and the graph's files, never changed
    building/<key>/     of the process that holds locks/<key>; whatever an earlier one left is removed
    exports/<name>/     graphs that torch exported, as they came
    failed/<key>        how often a build began and did not end, so that one that kills its replica is not tried for ever
    engine/             what engines keep for their next start

Called by `make`, `choice` and `inlet artifact`; `control/artifacts.py` serves its finished folders as they are. Several replicas of this machine share it, and with it the page cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import NotFound, Refused
from inlet.process import lock_file, private_folder, write_private
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.manifest import Manifest

GRAPH = "graph.xml"
_FILES = (GRAPH, "graph.bin")
_MANIFEST = "manifest.json"
_FORGOTTEN_S = 3600.0  # a replica that was stopped thrice in its first minute has nothing wrong with it


@dataclass(frozen=True, slots=True)
class Artifact:
    """One that is complete."""

    folder: Path
    manifest: Manifest

    @property
    def graph(self) -> Path | None:
        """The file of the chosen variant's graph; None when it is made from the model's own files."""
        return self.folder / GRAPH if GRAPH in self.manifest.files else None


class Store:
    """Everything below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def engine_cache(self) -> Path:
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
        matches = [path for path in self._folders() if name and path.name.startswith(name)]
        if len(matches) != 1:
            how = "no" if not matches else "more than one"
            raise NotFound(f"there is {how} artifact {name!r}; `inlet artifact list` shows all")
        (folder,) = matches
        manifest = Manifest.load((folder / _MANIFEST).read_bytes())
        for file, entry in manifest.files.items():
            path = folder / file
            if not path.is_file() or path.stat().st_size != entry["size"]:
                raise Refused(
                    f"the artifact {folder.name[:12]} has lost {file}; remove it and build it again"
                )
        return Artifact(folder, manifest)

    def all(self) -> list[Artifact]:
        """Every whole artifact, the newest first."""
        found = []
        for folder in self._folders():
            with contextlib.suppress(NotFound, Refused, OSError):
                found.append(self.get(folder.name))
        return sorted(found, key=lambda artifact: artifact.manifest.made_at, reverse=True)

    def remove(self, artifact: Artifact) -> None:
        """Forget it; who needs it again makes it again, and its choice may then be another."""
        name = artifact.folder.name
        for path in (self.folder / "keys").glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process removes it, too
                if path.read_bytes() == name.encode():
                    path.unlink()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(artifact.folder)

    def intact(self, artifact: Artifact) -> bool:
        """Whether its files are what its manifest says. Reads them whole."""
        try:
            files = artifact.manifest.files.items()
            return all(_entry(artifact.folder / name) == entry for name, entry in files)
        except OSError:
            return False

    @contextlib.contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """An empty folder for the one process that may make the artifact of that key; waits while another does."""
        locks = private_folder(private_folder(self.folder) / "locks")
        lock = lock_file(locks / key, within=None)
        assert lock is not None  # noqa: S101 - without `within` it waits
        draft = self.folder / "building" / key
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            os.close(lock)

    def publish(self, key: str, draft: Path, manifest: Manifest) -> Artifact:
        """Make the files in `draft` the artifact of that key. Within `building`."""
        (draft / _MANIFEST).write_bytes(manifest.dump())
        folder = self.folder / manifest.digest
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        write_private(private_folder(self.folder / "keys") / key, manifest.digest)
        self.ended(key)
        return Artifact(folder, manifest)

    def adopt(self, manifest: Manifest, fetch: Callable[[str, Path], None]) -> Artifact:
        """Take over an artifact that another machine made: `fetch(name, path)` brings each file. `Refused` if one is not
        what the manifest says.
        """
        key = identity.digest(manifest.key)
        with self.building(key) as draft:
            found = self.find(key)
            if found is not None:  # made meanwhile: a choice stays as it is
                return found
            for name, entry in manifest.files.items():
                if name not in _FILES:
                    raise Refused(f"the artifact has a file {name!r}, which none has")
                fetch(name, draft / name)
                if _entry(draft / name) != entry:
                    raise Refused(f"{name} of the artifact arrived damaged; try again")
            return self.publish(key, draft, manifest)

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

    def _failures(self, key: str) -> Path:
        return self.folder / "failed" / key

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if (path / _MANIFEST).is_file())


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """Hash and size of each file in the folder, for a manifest."""
    return {path.name: _entry(path) for path in sorted(folder.iterdir())}


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}
