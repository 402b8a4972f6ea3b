"""What only the file can show: modes, locks, kills, migrations, and what its errors keep to themselves."""

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from inlet.core.errors import Invalid, Refused, Unavailable
from inlet.settings import Settings
from inlet.store.database import WRITES
from inlet.store.schema import upgrade
from inlet.store.sql import SqlStore, database_url
from inlet.store.sqlite import blocking_engine_for
from inlet.store.tables import METADATA
from tests.conformance.migrations import with_next_migration
from tests.records import endpoint, event, token


def url(file: Path) -> URL:
    return URL.create("sqlite", database=str(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "inlet.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(url(file), busy_timeout=0.05)
    await store.open()
    yield store
    await store.close()


def write(file: Path, text: str, mode: int = 0o600) -> None:
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(mode)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pragma(file: Path, name: str) -> object:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        connection.close()


async def test_only_the_owner_can_read_it(store: SqlStore, file: Path) -> None:
    await store.add_namespace("default", 1.0)
    for path in file.parent.iterdir():
        assert mode(path) == 0o600, path.name
    assert mode(file.parent) == 0o700
    assert file.with_name("inlet.db-wal").exists()


async def test_a_file_that_others_could_read_is_closed_to_them(file: Path) -> None:
    write(file, "", mode=0o644)
    store = SqlStore(url(file))
    await store.open()
    await store.close()
    assert mode(file) == 0o600


async def test_every_connection_flushes_its_commits(store: SqlStore, file: Path) -> None:
    assert pragma(file, "journal_mode") == "wal"
    async with store._opened().connect() as connection:
        for name, value in (("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 50)):
            assert (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() == value, name


async def test_a_database_that_stays_locked_is_unavailable_and_recovers(store: SqlStore, file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"locked.*try again"):
        await store.add_namespace("default", 1.0)
    assert list(await store.list_namespaces()) == [], "readers do not wait for writers"
    other.execute("ROLLBACK")
    other.close()
    await store.add_namespace("default", 1.0)
    assert list(await store.list_namespaces()) == ["default"]


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with pytest.raises(Unavailable):
        await SqlStore(url(tmp_path / "plain" / "inlet.db")).open()


async def test_an_error_tells_neither_statement_nor_values(store: SqlStore, file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("DROP TABLE tokens")
    connection.close()
    secret = token("a", name="hunter2")
    with pytest.raises(Unavailable) as caught:
        await store.add_token(secret)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    assert "INSERT" not in shown


@pytest.mark.parametrize(
    "text", ["nonsense hunter2", "oracle://u:hunter2@h/d", "mysql://u:hunter2@h:notaport/d"]
)
def test_a_url_that_cannot_be_used_is_named_but_not_repeated(text: str) -> None:
    with pytest.raises(Invalid, match="INLET_DATABASE_URL") as caught:
        database_url(Settings(database_url=text))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_a_url_without_a_file_is_refused() -> None:
    with pytest.raises(Invalid, match="name a file"):
        await SqlStore(database_url(Settings(database_url="sqlite://"))).open()


def test_the_settings_decide_where_it_is(tmp_path: Path) -> None:
    assert database_url(Settings(home=tmp_path)).database == str(tmp_path / "inlet.db")
    assert database_url(Settings(database_url="sqlite:////srv/i.db")).database == "/srv/i.db"


# Migrations


def test_the_migrations_make_what_the_statements_expect(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    reference = create_engine(f"sqlite:///{tmp_path / 'reference.db'}")
    METADATA.create_all(reference)
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    definitions = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY name"
    with engine.connect() as made, reference.connect() as wanted:
        made_rows = dict(made.exec_driver_sql(definitions).all())
        wanted_rows = dict(wanted.exec_driver_sql(definitions).all())
    assert made_rows.keys() == wanted_rows.keys()
    index = "endpoints_visible_name"
    assert made_rows[index] == wanted_rows[index], "the part after WHERE is invisible to compare_metadata"
    engine.dispose()
    reference.dispose()


async def test_an_old_database_is_brought_up_to_date_and_keeps_its_rows(
    store: SqlStore, file: Path, tmp_path: Path
) -> None:
    await store.add_namespace("default", 1.0)
    engine = blocking_engine_for(url(file), busy_timeout=1.0)
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        upgrade(connection, with_next_migration(tmp_path, "pass"))
    assert "colour" in {column["name"] for column in inspect(engine).get_columns("namespaces")}
    engine.dispose()
    assert list(await store.list_namespaces()) == ["default"]


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    store: SqlStore, file: Path, tmp_path: Path
) -> None:
    migrations = with_next_migration(tmp_path, "op.drop_table('no_such_table')")
    engine = blocking_engine_for(url(file), busy_timeout=1.0)
    with (
        engine.connect().execution_options(**{WRITES: True}) as connection,
        pytest.raises(OperationalError, match="no_such_table"),
        connection.begin(),
    ):
        upgrade(connection, migrations)
    assert "colour" not in {column["name"] for column in inspect(engine).get_columns("namespaces")}
    engine.dispose()


async def test_a_database_of_a_newer_version_is_refused_untouched(file: Path, tmp_path: Path) -> None:
    store = SqlStore(url(file))
    await store.open()
    await store.close()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = '8888'")
    connection.commit()
    connection.close()
    with pytest.raises(Refused, match=r"8888.*newer Inlet"):
        await SqlStore(url(file)).open()
    assert pragma(file, "integrity_check") == "ok"


# Several processes

OPENER = """
import asyncio, sys
from sqlalchemy.engine import URL
from inlet.store.sql import SqlStore

async def main():
    store = SqlStore(URL.create("sqlite", database=sys.argv[1]), busy_timeout=60.0)
    print("up", flush=True)
    sys.stdin.readline()
    await store.open()
    print(await store.list_namespaces(), flush=True)
    await store.close()

asyncio.run(main())
"""


def python(program: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_processes_may_open_a_fresh_file_at_once(file: Path) -> None:
    processes = [python(OPENER, str(file)) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "up\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[0] == "[]\n"
        assert process.returncode == 0
    assert pragma(file, "integrity_check") == "ok"


WRITER = """
import asyncio, sys
from sqlalchemy.engine import URL
from inlet.store.sql import SqlStore
from tests.records import endpoint, event

async def main():
    store = SqlStore(URL.create("sqlite", database=sys.argv[1]))
    await store.open()
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    while True:
        record = await store.commit(record, [event(record), event(record)])
        print(record.version, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 40])
async def test_a_writer_killed_amid_commits_loses_nothing_that_was_answered(file: Path, after: int) -> None:
    writer = python(WRITER, str(file))
    answered = 0
    for _ in range(after):
        answered = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    # Not `communicate`, which would miss the lines that were read ahead.
    answered = max([answered, *map(int, (await asyncio.to_thread(writer.stdout.read)).split())])
    for stream in (writer.stdin, writer.stdout):
        stream.close()
    await asyncio.to_thread(writer.wait)

    store = SqlStore(url(file))
    await store.open()
    record = await store.get_endpoint("default", "a")
    assert record is not None
    assert record.version in (answered, answered + 1), "answered is kept; one more may have been on its way"
    events = await store.list_events(record.id, limit=10_000)
    assert len(events) == 2 * record.version - 1, "a commit and its events are one"
    assert await store.commit(record, [event(endpoint("a"))]) is not None
    await store.close()
    assert pragma(file, "integrity_check") == "ok"
