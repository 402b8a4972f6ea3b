"""What only a server can show: its death, its silence, its locks and rights, and what errors keep to themselves."""

import asyncio
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ProgrammingError

from inlet.core.endpoint import Endpoint
from inlet.core.errors import InletError, Invalid, Refused, Unavailable
from inlet.settings import Settings
from inlet.store.base import Store
from inlet.store.postgresql import PostgresqlDatabase
from inlet.store.schema import MIGRATIONS, upgrade
from inlet.store.sql import SqlStore, database_url
from inlet.store.tables import METADATA
from tests.conformance.migrations import with_next_migration
from tests.postgresql import PASSWORD, ROLE, Server
from tests.records import endpoint, event, token

T = TypeVar("T")
PATIENT = 60.0  # what a busy machine takes is no fault
HURRIED = 1.0
IN_SECONDS = 10.0  # far more than it takes; after ten more seconds the driver itself would give up


@pytest.fixture
def url(postgresql: Server) -> URL:
    """An empty database."""
    return postgresql.database()


@pytest.fixture
async def store(url: URL) -> AsyncIterator[SqlStore]:
    store = SqlStore(url, busy_timeout=PATIENT)
    await store.open()
    yield store
    await store.close()


async def refusal(url: URL) -> InletError:
    store = SqlStore(url, busy_timeout=PATIENT)
    with pytest.raises(InletError) as caught:
        await store.open()
    await store.close()
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (PASSWORD, str(url), url.render_as_string(hide_password=False)):
        assert secret not in shown
    assert "\n" not in str(caught.value)
    return caught.value


# The URL


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
async def test_a_url_as_people_write_it(url: URL, scheme: str) -> None:
    written = url.set(drivername=scheme).render_as_string(hide_password=False)
    assert PASSWORD not in written, "a password with special characters is what this is about"
    store = SqlStore(database_url(Settings(database_url=written)))
    await store.open()
    await store.add_namespace("default", 1.0)
    await store.close()


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql+psycopg2", "pg"])
def test_another_driver_is_refused(scheme: str) -> None:
    with pytest.raises(Invalid, match=r"INLET_DATABASE_URL: must be a URL like postgresql://") as caught:
        database_url(Settings(database_url=f"{scheme}://u:hunter2@h/d"))
    assert "hunter2" not in str(caught.value)


async def test_what_the_url_says_wins_over_our_defaults(url: URL) -> None:
    query = {"application_name": "mine", "options": "-c lock_timeout=77"}
    ours = {
        "application_name": "inlet",
        "lock_timeout": "5s",
        "statement_timeout": "5500ms",
        "idle_in_transaction_session_timeout": "10s",
    }
    theirs = {**ours, "application_name": "mine", "lock_timeout": "77ms"}
    for asked, shown in ((url, ours), (url.update_query_dict(query), theirs)):
        store = SqlStore(asked, busy_timeout=5.0)
        await store.open()
        async with store._opened().connect() as connection:
            for name, value in shown.items():
                assert (await connection.execute(text(f"SHOW {name}"))).scalar_one() == value
        await store.close()


async def test_without_its_driver_it_names_the_extra() -> None:
    program = """
import asyncio, sys
sys.modules["psycopg"] = None
from inlet.settings import Settings
from inlet.store.sql import SqlStore, database_url
asyncio.run(SqlStore(database_url(Settings(database_url="postgresql://u:hunter2@h/d"))).open())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'inlet-endpoints[postgres]'")
    assert "hunter2" not in done.stderr


# What a person must mend


async def test_a_wrong_password(url: URL) -> None:
    error = await refusal(url.set(password="wrong"))
    assert isinstance(error, Unavailable)
    assert f'password authentication failed for user "{ROLE}"' in str(error)


async def test_no_password(url: URL) -> None:
    assert "asks for a password" in str(await refusal(url.set(password="")))


async def test_an_unknown_database(url: URL) -> None:
    assert 'database "nope" does not exist' in str(await refusal(url.set(database="nope")))


async def test_nothing_listens(url: URL) -> None:
    error = await refusal(url.set(port=1))
    assert isinstance(error, Unavailable)
    assert "nothing listens" in str(error)


async def test_a_host_that_does_not_exist_may_be_half_a_password() -> None:
    """`user:pass@word@host` is read as the host `word@host`."""
    error = await refusal(database_url(Settings(database_url="postgresql://u:p@hunter2@nope.invalid/d")))
    assert "host name cannot be resolved" in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("sslmode", "require", "asks for TLS, and the server has none"),
        ("sslmod", "require", "a parameter that PostgreSQL does not know"),
        ("sslmode", "bogus", "a value that it cannot have"),
        ("connect_timeout", "abc", "a value that it cannot have"),
        ("keepalives_idle", "abc", "a value that it cannot have"),
        ("target_session_attrs", "standby", "no server is as target_session_attrs asks"),
        ("target_session_attrs", "read-only", "no server is as target_session_attrs asks"),
        ("host", "/no/such/folder", "nothing listens at that socket"),
    ],
)
async def test_a_parameter_of_the_url_that_does_not_fit(
    url: URL, parameter: str, value: str, said: str
) -> None:
    if parameter == "host":
        url = url.set(host=None, port=None)
    error = await refusal(url.update_query_dict({parameter: value}))
    assert said in str(error)
    assert PASSWORD not in str(error)


async def test_what_listens_is_not_postgresql(url: URL) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    error = await refusal(url.set(port=server.sockets[0].getsockname()[1]))
    server.close()
    assert "what listens at that address is not PostgreSQL" in str(error)


async def test_a_role_that_may_not_create_tables(postgresql: Server, url: URL) -> None:
    name = str(url.database)
    postgresql.sql(f"ALTER DATABASE {name} OWNER TO admin")
    postgresql.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
    error = await refusal(url)
    assert isinstance(error, Refused)
    assert "permission denied for schema public" in str(error)
    assert "granted CREATE" in str(error)


async def test_an_encoding_that_cannot_hold_all_text(postgresql: Server) -> None:
    error = await refusal(postgresql.database("ENCODING 'LATIN1' TEMPLATE template0"))
    assert isinstance(error, Refused)
    assert "LATIN1" in str(error)


async def test_a_database_of_a_newer_version_is_refused_untouched(
    store: SqlStore, url: URL, postgresql: Server
) -> None:
    await store.add_namespace("default", 1.0)
    postgresql.sql("UPDATE alembic_version SET version_num = '8888'", str(url.database))
    error = await refusal(url)
    assert isinstance(error, Refused)
    assert "8888 of a newer Inlet" in str(error)
    assert await store.list_namespaces() == ["default"]


# Values


async def test_an_error_tells_neither_statement_nor_values(
    store: SqlStore, url: URL, postgresql: Server
) -> None:
    postgresql.sql("DROP TABLE tokens", str(url.database))
    secret = token("a", name="hunter2")
    with pytest.raises(Unavailable) as caught:
        await store.add_token(secret)
    assert 'relation "tokens" does not exist' in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    assert "INSERT" not in shown


async def test_what_cannot_be_stored_is_the_callers_fault(store: SqlStore) -> None:
    for call in (
        store.add_token(token("a", name="hunter2\0")),
        store.get_endpoint("default", "hunter2\0"),
        store.add_namespace("hunter2" * 10, 1.0),
    ):
        with pytest.raises(Invalid, match="cannot store") as caught:
            await call
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


# Migrations


def migrate(url: URL, migrations: Path = MIGRATIONS) -> None:
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            upgrade(connection, migrations)
    finally:
        engine.dispose()


def test_the_migrations_make_what_the_statements_expect(url: URL, postgresql: Server) -> None:
    migrate(url)

    def definition(connection: Connection) -> str:
        found = text("SELECT indexdef FROM pg_indexes WHERE indexname = 'endpoints_visible_name'")
        return str(connection.execute(found).scalar_one())

    migrated = create_engine(url.set(drivername="postgresql+psycopg"))
    reference = create_engine(postgresql.database().set(drivername="postgresql+psycopg"))
    METADATA.create_all(reference)
    with migrated.connect() as made, reference.connect() as wanted:
        assert compare_metadata(MigrationContext.configure(made), METADATA) == []
        assert definition(made) == definition(wanted), "the part after WHERE is invisible to compare_metadata"
    migrated.dispose()
    reference.dispose()


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    store: SqlStore, url: URL, tmp_path: Path
) -> None:
    await store.add_namespace("default", 1.0)
    migrations = with_next_migration(tmp_path, "op.drop_table('no_such_table')")
    with pytest.raises(ProgrammingError, match="no_such_table"):
        migrate(url, migrations)
    engine = create_engine(url.set(drivername="postgresql+psycopg"))
    assert "colour" not in {column["name"] for column in inspect(engine).get_columns("namespaces")}
    engine.dispose()
    assert await store.list_namespaces() == ["default"]


# Many writers


async def test_of_commits_through_several_stores_exactly_one_wins(url: URL, postgresql: Server) -> None:
    """Also where the server's own default would answer a race with an error."""
    postgresql.sql(f"ALTER DATABASE {url.database} SET default_transaction_isolation = 'serializable'")
    async with AsyncExitStack() as stack:
        stores = [SqlStore(url, busy_timeout=PATIENT) for _ in range(3)]
        for store in stores:
            await store.open()
            stack.push_async_callback(store.close)
        record = endpoint("a")
        await stores[0].add_endpoint(record, event(record))
        for round_ in range(10):
            outcomes = await asyncio.gather(
                *(
                    store.commit(replace(record, ready=n), [event(record, f"{round_}/{n}")])
                    for n, store in enumerate(stores * 3)
                )
            )
            (record,) = [outcome for outcome in outcomes if outcome is not None]
            newest = (await stores[1].list_events(record.id, limit=1))[0]
            assert newest.message == f"{round_}/{record.ready}"
        assert len(await stores[2].list_events(record.id, limit=100)) == 11


async def test_a_record_that_somebody_holds_is_unavailable_until_it_is_let_go(
    store: SqlStore, url: URL
) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    # Its limit alone is short, and much shorter than ours, which says less.
    hurried = SqlStore(url.update_query_dict({"options": "-c lock_timeout=100"}), busy_timeout=PATIENT)
    await hurried.open()
    other = create_engine(url.set(drivername="postgresql+psycopg"))
    with other.begin() as connection:
        connection.execute(text("SELECT * FROM endpoints FOR UPDATE"))
        with pytest.raises(Unavailable, match=r"lock timeout.*try again"):
            await hurried.commit(record)
        assert await hurried.get_endpoint_by_id(record.id) == record, "readers do not wait for writers"
    other.dispose()
    assert await store.commit(record) is not None
    await hurried.close()


async def test_a_control_that_hangs_in_a_transaction_holds_up_nobody(store: SqlStore, url: URL) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    hanging = PostgresqlDatabase(url, patience=1.0).engine()
    async with hanging.connect() as connection:
        await connection.execute(text("SELECT * FROM endpoints FOR UPDATE"))
        assert await store.commit(record) is not None
        await connection.invalidate()  # there is nothing to roll back any more
    await hanging.dispose()


# Death and silence


async def once_there(call: Callable[[], Awaitable[T]]) -> T:
    """Its answer, as soon as the database is not away; a store in a hurry may find it away when the machine is busy."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.1)


async def keep_committing(store: Store, record: Endpoint, answered: dict[str, int]) -> Unavailable:
    """Until the database is away; `answered` gets the version of each commit that was answered."""
    try:
        while True:
            committed = await store.commit(record, [event(record), event(record)])
            assert committed is not None
            record = committed
            answered[record.id] = record.version
    except Unavailable as error:
        return error


async def test_a_server_killed_amid_commits_loses_nothing_that_was_answered(
    store: SqlStore, postgresql: Server
) -> None:
    records = [endpoint(f"e{n}") for n in range(8)]
    for record in records:
        await store.add_endpoint(record, event(record))
    for _ in range(2):
        answered = {record.id: record.version for record in await store.all_endpoints()}
        before = dict(answered)
        writers = [
            asyncio.ensure_future(keep_committing(store, record, answered))
            for record in await store.all_endpoints()
        ]
        while any(answered[id_] < before[id_] + 5 for id_ in answered):
            await store.list_namespaces()  # the writers run meanwhile
        await asyncio.to_thread(postgresql.stop, signal.SIGQUIT)
        for error in await asyncio.wait_for(asyncio.gather(*writers), 60):
            assert "try again" in str(error)
        postgresql.start()

        for record in await store.all_endpoints():
            assert record.version in (answered[record.id], answered[record.id] + 1), (
                "answered is kept; one more may have been on its way"
            )
            events = await store.list_events(record.id, limit=100_000)
            assert len(events) == 2 * record.version - 1, "a commit and its events are one"


async def test_cut_connections_heal(store: SqlStore, url: URL, postgresql: Server) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    await asyncio.gather(*(store.all_endpoints() for _ in range(5)))
    assert postgresql.cut_connections(str(url.database)) > 1
    assert await store.get_endpoint_by_id(record.id) == record, "what was cut while idle is not noticed"
    writer = asyncio.ensure_future(keep_committing(store, record, {}))
    while not writer.done():
        postgresql.cut_connections(str(url.database))
        await asyncio.sleep(0.01)
    assert "try again" in str(await writer)
    present = await store.get_endpoint_by_id(record.id)
    assert present is not None
    assert await store.commit(present) is not None


async def test_a_server_that_hangs_is_unavailable_in_seconds_and_recovers(
    store: SqlStore, url: URL, postgresql: Server
) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    hurried = SqlStore(url, busy_timeout=HURRIED)
    await once_there(hurried.open)
    await once_there(hurried.all_endpoints)
    with postgresql.frozen():
        began = time.monotonic()
        calls = [hurried.commit(record) for _ in range(15)] + [hurried.all_endpoints() for _ in range(15)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, Unavailable), outcome
        assert time.monotonic() - began < IN_SECONDS
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await SqlStore(url, busy_timeout=HURRIED).open()
        assert time.monotonic() - began < IN_SECONDS
    assert len(await once_there(lambda: asyncio.gather(*(hurried.all_endpoints() for _ in range(30))))) == 30
    await hurried.close()
    present = await store.get_endpoint_by_id(record.id)
    assert present is not None
    assert await store.commit(present) is not None


async def test_a_server_that_became_a_standby_is_left(store: SqlStore, url: URL, postgresql: Server) -> None:
    """As when a proxy or a name in DNS leads elsewhere meanwhile, and the old connections live on."""
    await store.add_namespace("default", 1.0)
    postgresql.sql(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    postgresql.cut_connections(str(url.database))
    with pytest.raises(Unavailable, match="read-only"):
        await store.add_namespace("acme", 1.0)
    postgresql.sql(f"ALTER DATABASE {url.database} RESET default_transaction_read_only")
    await store.add_namespace("acme", 1.0)
    assert await store.list_namespaces() == ["default", "acme"]


async def test_a_store_is_closed_while_the_server_is_away(store: SqlStore, postgresql: Server) -> None:
    await store.add_namespace("default", 1.0)
    postgresql.stop()
    with pytest.raises(Unavailable, match="nothing listens"):
        await store.list_namespaces()
    await asyncio.wait_for(store.close(), IN_SECONDS)
