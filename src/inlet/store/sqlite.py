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

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, inspect
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from inlet.core.errors import Invalid, Refused, Unavailable
from inlet.store.database import WRITES
from inlet.store.schema import upgrade

_TURN_WITHIN_S = 10.0  # how long a writer queues in this process: behind a few that wait for a lock in vain


class SqliteDatabase:
    """`database.Database` in a file. `busy_timeout`: seconds that a call waits for another process's transaction.

    A file that is moved away is missed at the next call and no other is made in its place; once it is back, or another
    (a backup, say, without the `-wal` and `-shm` of the file before) lies there, that one is used. A write is never said
    to be done when it went into a file that lies there no more.
    """

    def __init__(self, url: URL, *, busy_timeout: float) -> None:
        """`url` names the file."""
        self._url = url
        self._busy_timeout = busy_timeout
        self._writers, self._finding = asyncio.Lock(), asyncio.Lock()
        self._engine: AsyncEngine | None = None
        # Device and number of the file that the connections have open.
        self._file: tuple[int, int] | None = None

    async def prepare(self) -> None:
        # In a thread: creating, waiting for another opener and migrating all block.
        try:
            await asyncio.to_thread(prepare, self._url, busy_timeout=self._busy_timeout)
        except DBAPIError as error:
            raise Unavailable(
                f"the database {self._url.database} cannot be opened ({self.reason(error)})"
            ) from None

    def engine(self) -> AsyncEngine:
        self._engine = engine_for(self._url, busy_timeout=self._busy_timeout)
        return self._engine

    @asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[None]:
        if not writes:
            await self._find_file()
            yield
            return
        # SQLite has one writer. Within this process writers queue here, in order; only other processes are met with
        # the busy timeout, which is a lottery.
        async with asyncio.timeout(_TURN_WITHIN_S):
            await self._writers.acquire()
        try:
            file = await self._find_file()
            yield
            if self._file_now() != file:  # the commit may have gone into the one that was there before
                raise Unavailable(
                    "the database's file was replaced meanwhile: look what is in it, and try again"
                )
        finally:
            self._writers.release()

    async def _find_file(self) -> tuple[int, int]:
        """The file; `Unavailable` without one. Connections to one that was replaced are let go."""
        async with self._finding:  # nobody passes while there are connections to the file before
            file = self._file_now()
            if self._file not in (None, file) and self._engine is not None:
                await self._engine.dispose()
            self._file = file
            return file

    def _file_now(self) -> tuple[int, int]:
        try:
            found = Path(str(self._url.database)).stat()
        except OSError as error:
            raise Unavailable(f"the database's file is away ({error.strerror}): put it back") from None
        return found.st_dev, found.st_ino

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def reason(self, error: DBAPIError) -> str:
        # SQLite's own words name no value and no address: "database is locked", "disk I/O error", ...
        return str(error.orig) if isinstance(error.orig, sqlite3.Error) else type(error.orig).__name__


def engine_for(url: URL, *, busy_timeout: float) -> AsyncEngine:
    """An engine on the file that `url` names; connects to nothing yet. `busy_timeout` in seconds."""
    engine = create_async_engine(
        _existing(_checked(url)).set(drivername="sqlite+aiosqlite"),
        connect_args={"isolation_level": None, "timeout": busy_timeout},
        pool_timeout=busy_timeout,
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
    if path.exists() and not path.is_file():
        raise Refused(f"the database {path} is not a file: the URL must name a file in a folder")
    with _only_opener(path) as lock:
        if os.fstat(lock).st_size and not path.exists():
            raise Refused(
                f"the database {path.name} is gone, though it was in use before: put it back, or remove "
                f"{path.name}.lock beside it to begin with an empty one"
            )
        if not _make(path):
            _refuse_others(engine, path)
            path.chmod(0o600)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
            upgrade(connection)
        if not os.fstat(lock).st_size:
            os.write(lock, b"in use\n")


def _existing(url: URL) -> URL:
    """The same, but never made when it is missing: an empty database in place of a lost one would say that all is gone."""
    file = "file:" + quote(str(url.database))
    return url.set(database=file).update_query_dict({"mode": "rw", "uri": "true"})


def _checked(url: URL) -> URL:
    # A relative path would be another, empty database for whoever starts elsewhere.
    if not Path(url.database or "").is_absolute():
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
def _only_opener(path: Path) -> Iterator[int]:
    """Hold off other openers; the lock is the kernel's and ends with the process. Its file is empty until the database
    was in use for the first time.

    Needed because switching a fresh file to WAL fails at once, whatever the busy timeout, while another process does so.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the folder of the database {path} cannot be used ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _refuse_others(engine: Engine, path: Path) -> None:
    """`Refused` for a file that is no database, or another program's: nothing of it may be changed."""
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise Refused(f"{path} is no SQLite database: the URL must name another file") from None
        raise
    if tables and "alembic_version" not in tables:
        raise Refused(f"{path} is the database of another program: the URL must name another file")


def _make(path: Path) -> bool:
    """Create the file for its owner only; SQLite gives the log beside it the same mode. False if there is one.

    A file that exists is never opened here: closing it would drop the locks that this process holds on it elsewhere.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the name must survive a power cut as the content does
    finally:
        os.close(folder)
    return True
