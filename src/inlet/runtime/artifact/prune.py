"""Frees what nobody needs any more in the folder of artifacts. Called by `inlet artifact prune`.

Keeps what a running replica holds, what an endpoint of this installation would be served with at its next start, and what
anybody used not long ago: the folder may be shared with installations whose endpoints cannot be seen from here. Never waits.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.endpoint import Source
from inlet.core.errors import Refused
from inlet.runtime import locks
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.manifest import Manifest
from inlet.runtime.artifact.store import MANIFEST, Store
from inlet.runtime.artifact.traffic import traffic_file
from inlet.runtime.build.encoder import Head
from inlet.runtime.gguf import conversion
from inlet.runtime.gguf.storage import Storage
from inlet.runtime.origins.exports import CONTENTS, DRAFT, LOCK
from inlet.runtime.tasks import canonical


@dataclass(frozen=True, slots=True)
class Freed:
    """`what` it was in a word or two, `name` in the folder, `model` if that is known, and how many bytes it had."""

    what: str
    name: str
    model: str | None
    size: int


def prune(store: Store, sources: Collection[Source], *, unused_for: float, dry_run: bool) -> list[Freed]:
    """Remove, or with `dry_run` only find, what none of `sources` needs and nobody used for so many seconds.

    Builds and exports that did not end, and what engines kept of artifacts that are gone, are of no use at any age.
    """
    return list(_Pruning(store, sources, time.time() - unused_for, dry_run).run())


class _Pruning:
    def __init__(self, store: Store, sources: Collection[Source], before: float, dry_run: bool) -> None:
        self._store, self._sources, self._before, self._dry_run = store, sources, before, dry_run
        self._models = {_model(source) for source in sources}

    def run(self) -> Iterator[Freed]:
        yield from self._artifacts()
        yield from self._exports()
        yield from self._drafts()
        yield from self._engine_caches()
        yield from self._gguf_files()
        yield from self._traffic()

    def _artifacts(self) -> Iterator[Freed]:
        for folder in self._store.folders():
            try:
                manifest = Manifest.load((folder / MANIFEST).read_bytes())
            except (OSError, Refused):
                manifest = None  # damaged, or of another version: it serves nobody
            if manifest is not None and self._wanted(manifest.key):
                continue
            with self._free(folder / MANIFEST) as free:
                if free:
                    model = None if manifest is None else manifest.model
                    size = _size(folder) + _size(self._store.engine_caches / folder.name)
                    yield Freed("artifact", folder.name, model, size)
                    if not self._dry_run:
                        self._store.clear(folder)

    def _wanted(self, key: Mapping[str, Any]) -> bool:
        return identity.fits(key) and key.get("model") in self._models

    def _exports(self) -> Iterator[Freed]:
        wanted = {
            identity.export_name(Path(source.location), revision=_revision(source), head=head)
            for source in self._sources
            for head in Head
        }
        for folder in _entries(self._store.exports):
            if folder.is_dir() and folder.suffix != DRAFT and folder.name not in wanted:
                with self._free(folder / CONTENTS) as free:
                    if free:
                        yield self._removed("export", folder)

    def _drafts(self) -> Iterator[Freed]:
        for draft in _entries(self._store.folder / "building"):
            with locks.unused(self._store.lock(draft.name)) as free:
                if free:
                    yield self._removed("unfinished build", draft)
        with locks.unused(self._store.exports / LOCK) as free:
            if free:
                for draft in _entries(self._store.exports):
                    if draft.suffix == DRAFT:
                        yield self._removed("unfinished export", draft)

    def _engine_caches(self) -> Iterator[Freed]:
        artifacts = {folder.name for folder in self._store.folders()}
        for cache in _entries(self._store.engine_caches):
            if cache.name not in artifacts:
                yield self._removed("engine cache", cache)

    def _gguf_files(self) -> Iterator[Freed]:
        folder = self._store.folder / "gguf"
        wanted = {
            conversion.file_name(Path(source.location), revision=_revision(source), storage=storage)
            for source in self._sources
            for storage in Storage
        }
        for file in _entries(folder):
            if file.suffix == ".gguf" and file.name not in wanted:
                with self._free(file) as free:
                    if free:
                        yield self._removed("GGUF file", file)
        with locks.unused(folder / conversion.LOCK) as free:
            for draft in _entries(folder) if free else ():
                if draft.suffix == conversion.DRAFT:
                    yield self._removed("unfinished GGUF file", draft)

    def _traffic(self) -> Iterator[Freed]:
        kept = {
            traffic_file(self._store.folder, source.location, canonical(source.task))
            for source in self._sources
        }
        for path in _entries(self._store.folder / "traffic"):
            if path not in kept and self._old(path):
                yield self._removed("traffic samples", path)

    @contextlib.contextmanager
    def _free(self, held: Path) -> Iterator[bool]:
        """Whether what belongs to that file may go: nobody holds it or used it lately."""
        with locks.unused(held) as unused:
            yield unused and self._old(held if held.is_file() else held.parent)

    def _old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime <= self._before
        except FileNotFoundError:  # gone at this moment
            return False

    def _removed(self, what: str, path: Path) -> Freed:
        freed = Freed(what, path.name, None, _size(path))
        if not self._dry_run:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return freed


def _revision(source: Source) -> str | None:
    return None if source.commit is None else f"{source.location}@{source.commit}"


def _model(source: Source) -> str:
    """How an artifact's key names it; a folder as its files are now."""
    key = identity.key_of(Path(source.location), revision=_revision(source), head="", precision="")
    return str(key["model"])


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
