"""The database's file is moved, replaced, lost, locked for long, or has no disk left: said clearly, and over by itself."""

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from inlet.core.errors import Refused, Unavailable
from inlet.store.sql import SqlStore
from tests.database_file import locked
from tests.full_disk import fill, free, small_disk
from tests.records import endpoint, event

PATIENCE_S = 0.05


def open_store(file: Path) -> SqlStore:
    return SqlStore(URL.create("sqlite", database=str(file)), busy_timeout=PATIENCE_S)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "inlet.db"


@pytest.fixture
async def store(file: Path) -> AsyncIterator[SqlStore]:
    store = open_store(file)
    await store.open()
    await store.add_namespace("default", 1.0)
    yield store
    await store.close()


def move(file: Path, to: Path) -> None:
    file.rename(to)


def remove(*files: Path) -> None:
    for file in files:
        file.unlink()


def exists(file: Path) -> bool:
    return file.exists()


async def test_a_file_that_is_moved_away_is_missed_and_no_other_is_made(store: SqlStore, file: Path) -> None:
    aside = file.with_name("aside.db")
    move(file, aside)
    for call in (store.list_namespaces(), store.add_namespace("other", 2.0)):
        with pytest.raises(Unavailable, match=r"file is away .*put it back"):
            await call
    assert not exists(file)
    move(aside, file)
    await store.add_namespace("other", 2.0)
    assert list(await store.list_namespaces()) == ["default", "other"]


async def test_a_backup_that_is_put_in_place_is_used_at_once(store: SqlStore, file: Path) -> None:
    backup = file.with_name("backup.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    await store.add_namespace("later", 2.0)
    remove(file, file.with_name("inlet.db-wal"), file.with_name("inlet.db-shm"))
    move(backup, file)
    assert list(await store.list_namespaces()) == ["default"]
    await store.add_namespace("again", 3.0)
    assert list(await store.list_namespaces()) == ["default", "again"]


@pytest.mark.parametrize("kind", ["a folder", "a text", "another program's"])
def test_what_is_not_ours_is_left_as_it_was(file: Path, kind: str) -> None:
    file.parent.mkdir()
    if kind == "a folder":
        file.mkdir()
    elif kind == "a text":
        file.write_text("[server]\n" * 100)
    else:
        with closing(sqlite3.connect(file)) as other:
            other.execute("CREATE TABLE customers (name TEXT)")
    file.chmod(0o755)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(Refused, match=r"inlet\.db is .*: the URL must name"):
        asyncio.run(open_store(file).open())
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert (file.read_bytes() if file.is_file() else b"") == before


async def test_no_write_is_said_to_be_done_that_went_into_the_file_before(file: Path) -> None:
    store = SqlStore(URL.create("sqlite", database=str(file)), busy_timeout=30.0)
    await store.open()
    backup = file.with_name("backup.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    assert list(await store.list_namespaces()) == []  # there is a connection now, to the file before
    with locked(file):
        first = asyncio.create_task(store.add_namespace("first", 2.0))
        second = asyncio.create_task(store.add_namespace("second", 3.0))
        await asyncio.sleep(0)  # the first waits for the lock, the second for the first
        for end in ("", "-wal", "-shm"):
            move(file.with_name(f"inlet.db{end}"), file.with_name(f"aside.db{end}"))
        move(backup, file)
    with pytest.raises(Unavailable, match="replaced meanwhile"):
        await first
    await second
    assert list(await store.list_namespaces()) == ["second"]
    await store.close()


@pytest.mark.parametrize("cut_short", [False, True])
async def test_of_calls_at_once_none_uses_the_file_that_was_replaced(
    store: SqlStore, file: Path, *, cut_short: bool
) -> None:
    """Also when the call that found it out was given up."""
    await asyncio.gather(*(store.list_namespaces() for _ in range(5)))  # so many connections are open
    backup = file.with_name("backup.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    remove(file, file.with_name("inlet.db-wal"), file.with_name("inlet.db-shm"))
    move(backup, file)
    if cut_short:
        call = asyncio.ensure_future(store.list_namespaces())
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    await asyncio.gather(*(store.add_namespace(f"n{number}", 2.0) for number in range(5)))
    with closing(sqlite3.connect(file)) as there:
        assert there.execute("SELECT count(*) FROM namespaces").fetchone() == (6,)


async def test_a_database_that_was_lost_is_not_begun_anew_by_itself(store: SqlStore, file: Path) -> None:
    await store.close()
    remove(file)
    with pytest.raises(Refused, match=r"inlet\.db is gone.*inlet\.db\.lock"):
        await open_store(file).open()
    assert not exists(file)
    remove(file.with_name("inlet.db.lock"))
    fresh = open_store(file)
    await fresh.open()
    assert list(await fresh.list_namespaces()) == []
    await fresh.close()


async def test_writers_do_not_pile_up_behind_a_lock(
    store: SqlStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inlet.store.sqlite._TURN_WITHIN_S", 0.1)
    with locked(file):
        began = asyncio.get_running_loop().time()
        calls = (store.add_namespace(f"n{number}", 1.0) for number in range(400))
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in refused} == {Unavailable}
        assert asyncio.get_running_loop().time() - began < 400 * PATIENCE_S / 2, "each has a wait of its own"
        assert list(await store.list_namespaces()) == ["default"], "readers do not wait for writers"
    await store.add_namespace("more", 1.0)
    assert list(await store.list_namespaces()) == ["default", "more"]


async def test_a_full_disk_leaves_nothing_half_done_and_is_over_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        store = open_store(disk / "inlet.db")
        await store.open()
        await store.add_namespace("default", 1.0)
        await asyncio.to_thread(fill, disk)
        written = []
        with contextlib.suppress(Unavailable):
            for number in range(1000):  # what the log has room for
                new = endpoint(f"e{number}")
                await store.add_endpoint(new, event(new))
                written.append(new)
        with pytest.raises(Unavailable, match="full"):
            await store.add_namespace("other", 2.0)
        assert list(await store.all_endpoints()) == written, "reading goes on"
        await asyncio.to_thread(free, disk)
        last = endpoint("last")
        await store.add_endpoint(last, event(last))
        for each in (*written, last):
            assert await store.get_endpoint_by_id(each.id) == each
            assert len(await store.list_events(each.id, limit=10)) == 1
        await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open what nobody may")
async def test_a_file_that_may_not_be_opened_is_unavailable_until_it_may(store: SqlStore, file: Path) -> None:
    await store._opened().dispose()
    file.chmod(0)  # noqa: ASYNC240 - a test's own file
    with pytest.raises(Unavailable, match="unable to open"):
        await store.list_namespaces()
    file.chmod(0o600)  # noqa: ASYNC240
    assert list(await store.list_namespaces()) == ["default"]
