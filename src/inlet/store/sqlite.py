"""What is particular to SQLite: the file, its pragmas, and how its transactions begin.

Called by `sql.py` when the URL says SQLite; nothing else knows that there is a file. What it promises: a commit that
was answered survives `kill -9` and a power cut, and several processes may have the file open at once.

- `journal_mode=WAL`: readers never wait for a writer, and a writer that dies leaves a log that the next opener replays
  up to the last whole commit.
- `synchronous=FULL`: the log is flushed to the disk in every commit. With NORMAL, a power cut (though not a kill) could
  take back commits that were answered. It costs one flush per commit, and commits come at the pace of people and
  state changes.
- `fullfsync`: on macOS a flush otherwise stops at the drive's own cache; elsewhere it changes nothing.
- Writing transactions begin IMMEDIATE: one that reads first and writes later could not be queued, only failed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from inlet.core.errors import Invalid
from inlet.store.schema import upgrade

WRITES = "inlet_writes"
"""Execution option of a connection whose transactions write."""


def engine_for(url: URL, *, busy_timeout: float) -> AsyncEngine:
    """An engine on the file that `url` names; connects to nothing yet. `busy_timeout` in seconds."""
    engine = create_async_engine(
        _checked(url).set(drivername="sqlite+aiosqlite"),
        connect_args={"isolation_level": None, "timeout": busy_timeout},
        hide_parameters=True,  # statements' values are people's data and belong into no error and no log
    )
    _attend(engine.sync_engine)
    return engine


def blocking_engine_for(url: URL, *, busy_timeout: float) -> Engine:
    """The same without asyncio, for migrations; keeps no connection between two uses."""
    engine = create_engine(
        _checked(url).set(drivername="sqlite+pysqlite"),
        connect_args={"isolation_level": None, "timeout": busy_timeout},
        poolclass=NullPool,
        hide_parameters=True,
    )
    _attend(engine)
    return engine


def prepare(url: URL, *, busy_timeout: float) -> None:
    """Make the file if need be, and bring its schema up to date. Blocks, also while another process does the same."""
    engine = blocking_engine_for(url, busy_timeout=busy_timeout)
    path = Path(str(engine.url.database))
    with _only_opener(path):
        _make(path)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            upgrade(connection)


def _checked(url: URL) -> URL:
    if not url.database or url.database == ":memory:":
        raise Invalid("a SQLite URL must name a file: sqlite:////absolute/path", field="INLET_DATABASE_URL")
    return url


def _attend(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "fullfsync=ON", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # `isolation_level` None above: the driver begins no transaction of its own accord, so this is the one place.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(WRITES) else "BEGIN")


@contextmanager
def _only_opener(path: Path) -> Iterator[None]:
    """Hold off other openers; the lock is the kernel's and ends with the process.

    Needed because switching a fresh file to WAL fails at once, whatever the busy timeout, while another process does so.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make(path: Path) -> None:
    """Create the file for its owner only; SQLite gives the log beside it the same mode.

    A file that exists is never opened here: closing it would drop the locks that this process holds on it elsewhere.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        path.chmod(0o600)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the name must survive a power cut as the content does
    finally:
        os.close(folder)
