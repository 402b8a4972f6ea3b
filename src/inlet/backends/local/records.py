"""What the local backend keeps on disk, and where: one folder per replica set, one in it per replica.

    replicas/SET/set.json                what was applied, and how its starts went
    replicas/SET/REPLICA/replica.json    written before the replica's keeper is started
    replicas/SET/REPLICA/keeper.json     written by the keeper: process id and identity
    replicas/SET/REPLICA/stop            how many seconds a drain may take
    replicas/SET/REPLICA/work            where the replica runs
    replicas/SET/REPLICA/exit.json       written by the keeper as its last act
    logs/ENDPOINT/REPLICA.log[.1]        output

Read and written by `supervisor.py`, `replica.py` and `backend.py`. Holds no environment: secrets must never lie here in
clear, so a set that was read back cannot start replicas until it is applied again. Files are replaced whole, which is
what a killed process needs; they are not synced, because after a power cut no replica is left that they could describe,
and an unreadable one is treated as absent.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from inlet.core.seen import Exit, Limits

T = TypeVar("T")

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


def _structured(limits: object) -> object:
    """Earlier versions wrote words; what they left running must be found all the same."""
    return None if isinstance(limits, str) else limits


@dataclass(slots=True)
class SetRecord:
    """A replica set as applied, less what it runs. `halted`: no start helps until it is applied differently."""

    id: str
    endpoint_id: str
    revision: int
    n: int
    limits: Annotated[Limits | None, BeforeValidator(_structured)] = None
    removing: bool = False
    halted: bool = False
    failed_starts: int = 0
    ends: int = 0
    next_start_at: float = 0.0
    last_exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class ReplicaRecord:
    """One replica. `groups` are its cgroup folders; `memory` in bytes; `enforced` whether a group holds it to that."""

    id: str
    created_at: float
    socket: str
    vcpus: float
    memory: int
    enforced: bool
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeeperRecord:
    """Which process keeps the replica; `identity` guards against another process under the same number."""

    pid: int
    identity: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How a replica ended, as its keeper saw it. `asked`: it had been told to stop; `overrun`: it took too long."""

    at: float
    code: int | None
    signal: int | None
    out_of_memory: bool
    asked: bool
    overrun: bool
    termination: str
    last_lines: tuple[str, ...]


_SET = TypeAdapter(SetRecord)
_REPLICA = TypeAdapter(ReplicaRecord)
_KEEPER = TypeAdapter(KeeperRecord)
_ENDING = TypeAdapter(Ending)


def safe(name: str) -> str:
    """The same name, if it can be a folder's; ids are ours, so anything else is a bug or an attack."""
    if not _SAFE.fullmatch(name):
        raise ValueError(f"{name!r} cannot be used as the name of a folder")
    return name


def write_whole(path: Path, data: bytes) -> None:
    """Visible under its name only when complete; readable by its owner only, as everything below the home."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.chmod(0o600)
    fresh.replace(path)


class SetFolder:
    """The folder of one replica set."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, record: SetRecord) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "set.json", _SET.dump_json(record))

    def load(self) -> SetRecord | None:
        return _load(_SET, self.path / "set.json")

    def replica(self, replica_id: str) -> ReplicaFolder:
        return ReplicaFolder(self.path / safe(replica_id))

    def replicas(self) -> Iterator[ReplicaFolder]:
        return (ReplicaFolder(path) for path in sorted(self.path.iterdir()) if path.is_dir())


class ReplicaFolder:
    """The folder of one replica."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, record: ReplicaRecord) -> None:
        (self.path / "work").mkdir(parents=True)
        write_whole(self.path / "replica.json", _REPLICA.dump_json(record))

    def record(self) -> ReplicaRecord | None:
        return _load(_REPLICA, self.path / "replica.json")

    def keeper(self) -> KeeperRecord | None:
        return _load(_KEEPER, self.path / "keeper.json")

    def ending(self) -> Ending | None:
        return _load(_ENDING, self.path / "exit.json")

    def keeper_error(self) -> str:
        """What the keeper itself complained about last, if it failed."""
        try:
            lines = (self.path / "keeper.err").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:500] if lines else ""

    @property
    def termination_log(self) -> Path:
        return self.path / "termination.log"

    @property
    def stopping(self) -> bool:
        return (self.path / "stop").exists()

    def stop(self, grace: float) -> None:
        write_whole(self.path / "stop", str(grace).encode())

    def clear(self) -> None:
        """Remove it. Under another name first: killed in between, nobody takes half a record for a replica's end."""
        with contextlib.suppress(OSError):
            cleared = self.path.with_name(f"{self.path.name}.cleared")
            self.path.rename(cleared)
            shutil.rmtree(cleared, ignore_errors=True)


def _load(adapter: TypeAdapter[T], path: Path) -> T | None:
    try:
        return adapter.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
