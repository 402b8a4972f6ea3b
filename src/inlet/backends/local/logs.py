"""Reading replicas' log files: the last lines, all lines, following, and throwing old ones away.

Keepers write the files (see `keeper.Output` for the format) and say so in a datagram; `backend.py` passes that on to
`news`, which wakes whoever follows. Reading happens in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from inlet.backends.base import LogLine
from inlet.backends.local.records import safe

_KEEP_S = 30 * 86_400.0
_KEEP_BYTES = 500_000_000
_WAKE_ANYWAY_S = 5.0  # a datagram may be lost


class Logs:
    """`logs/ENDPOINT/REPLICA.log`, and `.log.1` for what came before it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._followers: dict[str, set[asyncio.Event]] = {}

    def news(self, endpoint_id: str) -> None:
        """Wake all who follow this endpoint."""
        for event in self._followers.get(endpoint_id, ()):
            event.set()

    def news_everywhere(self) -> None:
        """Wake all who follow anything: a replica has begun or ended."""
        for endpoint_id in self._followers:
            self.news(endpoint_id)

    async def read(
        self,
        endpoint_id: str,
        *,
        replica_id: str | None,
        tail: int | None,
        follow: bool,
        alive: Callable[[str], bool],
    ) -> AsyncIterator[LogLine]:
        """As `Backend.logs`. Following one replica ends with it; following an endpoint ends with the reader."""
        folder = self._root / safe(endpoint_id)
        files = _Files(folder, replica_id)
        event = asyncio.Event()
        self._followers.setdefault(endpoint_id, set()).add(event)
        try:
            over = replica_id is not None and not alive(replica_id)
            # Asked before reading: what an ended replica wrote is all there. Its file need not stay open.
            ended = {name for name in await asyncio.to_thread(files.names) if not (follow and alive(name))}
            for line in await asyncio.to_thread(files.history, tail, ended):
                yield line
            while follow and not over:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WAKE_ANYWAY_S):
                        await event.wait()
                event.clear()
                over = replica_id is not None and not alive(replica_id)
                for line in await asyncio.to_thread(files.more):
                    yield line
        finally:
            files.close()
            followers = self._followers[endpoint_id]
            followers.discard(event)
            if not followers:
                del self._followers[endpoint_id]

    async def forget(self, endpoint_id: str) -> None:
        """Drop all logs of an endpoint."""
        await asyncio.to_thread(shutil.rmtree, self._root / safe(endpoint_id), ignore_errors=True)

    def prune(self, alive: set[str]) -> None:
        """Drop logs of ended replicas that are too old, then the oldest until all fit the budget. Blocks."""
        ended = []
        for path in self._root.glob("*/*.log*"):
            if path.name.partition(".log")[0] not in alive:
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    ended.append((stat.st_mtime, stat.st_size, path))
        total = 0
        for changed_at, size, path in sorted(ended, reverse=True):
            total += size
            if total > _KEEP_BYTES or changed_at < time.time() - _KEEP_S:
                path.unlink(missing_ok=True)


class _Files:
    """The open files of one reader."""

    def __init__(self, folder: Path, replica_id: str | None) -> None:
        self._folder = folder
        self._replica_id = replica_id
        self._open: dict[str, _File] = {}

    def names(self) -> list[str]:
        """The replicas that have a log."""
        self._files()
        return list(self._open)

    def history(self, tail: int | None, ended: set[str]) -> list[LogLine]:
        """What there is, oldest first, the last `tail` lines of it. Those that `ended` are closed once they are read."""
        each = []
        for file in self._files():
            each.append(deque(file.history(), maxlen=tail))
            if file.replica_id in ended:
                file.finish()
        lines: Iterable[LogLine] = heapq.merge(*each, key=attrgetter("at"))
        return list(deque(lines, maxlen=tail))

    def more(self) -> list[LogLine]:
        """What came since, of replicas that started meanwhile too."""
        lines: list[LogLine] = []
        for file in self._files():
            lines += file.more()
        return sorted(lines, key=attrgetter("at"))

    def _files(self) -> list[_File]:
        """All files, new ones included. Names come from the folder, never from the caller."""
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._folder.glob("*.log")):
                replica_id = path.name.removesuffix(".log")
                if replica_id not in self._open and self._replica_id in (None, replica_id):
                    self._open[replica_id] = _File(path, replica_id)
        return list(self._open.values())

    def close(self) -> None:
        for file in self._open.values():
            file.close()


class _File:
    """One replica's log, followed across rotations by keeping the file open until it was read to its end."""

    def __init__(self, path: Path, replica_id: str) -> None:
        self._path = path
        self.replica_id = replica_id
        self._finished = False
        self._file: BinaryIO | None = None
        self._partial = b""

    def history(self) -> Iterator[LogLine]:
        self._reopen()
        with (
            contextlib.suppress(FileNotFoundError),
            self._path.with_name(f"{self._path.name}.1").open("rb") as older,
        ):
            if self._file is None or not os.path.sameopenfile(older.fileno(), self._file.fileno()):
                yield from self._parse(older.read())
        self._partial = b""
        yield from self.more()

    def more(self) -> Iterator[LogLine]:
        if self._finished:
            return
        if self._file is None:
            self._reopen()
        while self._file is not None:
            yield from self._parse(self._file.read())
            if not self._rotated(self._file):
                return
            yield from self._parse(self._file.read())  # what was written between reading and rotation
            self._partial = b""
            self._reopen()

    def finish(self) -> None:
        """Nothing more will come."""
        self._finished = True
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self) -> None:
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._file = self._path.open("rb", buffering=0)

    def _rotated(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False  # between two files, or dropped

    def _parse(self, data: bytes) -> Iterator[LogLine]:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            at, _, rest = line.partition(b" ")
            stream, _, text = rest.partition(b" ")
            with contextlib.suppress(ValueError):  # cut short by a full disk
                yield LogLine(float(at), self.replica_id, stream.decode(), text.decode(errors="replace"))
