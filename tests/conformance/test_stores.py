"""One body of tests for every store; a new one is a name in `STORES` and a case in `maker`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from inlet.core.endpoint import State
from inlet.core.errors import Conflict, Invalid, Unavailable
from inlet.store.base import Lease, Notice, Store
from inlet.store.memory import MemoryStore
from inlet.store.sql import SqlStore
from tests.records import endpoint, event, token

STORES = ["memory", "sqlite", "postgresql"]
DURABLE = ["sqlite", "postgresql"]


def maker(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Store]:
    """Makes stores of the kind that the fixture's parameter names, closed, all on the same data."""
    if request.param == "memory":
        return MemoryStore
    if request.param == "sqlite":
        url = URL.create("sqlite", database=str(folder / "inlet.db"))
    else:
        url = request.getfixturevalue("postgresql").database()
    return lambda: SqlStore(url, busy_timeout=60.0)  # what a busy machine takes is no fault


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(maker(request, tmp_path)()) as store:
        yield store


@pytest.fixture(params=DURABLE)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes another store on the same data, closed."""
    return maker(request, tmp_path)


async def test_an_added_endpoint_is_found_every_way(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record, "made"))
    assert await store.get_endpoint("default", "a") == record
    assert await store.get_endpoint_by_id(record.id) == record
    assert list(await store.list_endpoints()) == [record]
    assert list(await store.all_endpoints()) == [record]
    assert list(await store.list_events(record.id, limit=10)) == [event(record, "made")]


async def test_what_is_not_there_is_none_or_empty(store: Store) -> None:
    assert await store.get_endpoint("default", "a") is None
    assert await store.get_endpoint_by_id("nope") is None
    assert list(await store.list_endpoints()) == []
    assert list(await store.all_endpoints()) == []
    assert list(await store.list_events("nope", limit=10)) == []
    assert await store.find_token("nope") is None
    assert list(await store.list_tokens()) == []
    assert await store.revoke_token("nope", 1.0) is None
    assert list(await store.list_namespaces()) == []
    assert await store.commit(endpoint("a")) is None


async def test_a_name_is_taken_once_per_namespace(store: Store) -> None:
    first = endpoint("a")
    await store.add_endpoint(first, event(first))
    second = endpoint("a", id="other")
    with pytest.raises(Conflict, match=r"name: .*'a'.*'default'"):
        await store.add_endpoint(second, event(second))
    assert await store.get_endpoint_by_id("other") is None
    assert list(await store.list_events("other", limit=10)) == [], "nothing of a refused call may stay"
    elsewhere = endpoint("a", namespace="acme")
    await store.add_endpoint(elsewhere, event(elsewhere))
    assert list(await store.list_endpoints("acme")) == [elsewhere]


async def test_an_id_is_taken_once(store: Store) -> None:
    first, second = endpoint("a", id="same"), endpoint("b", id="same")
    await store.add_endpoint(first, event(first))
    with pytest.raises(Conflict):
        await store.add_endpoint(second, event(second))
    assert await store.get_endpoint("default", "b") is None


async def test_two_at_once_cannot_take_one_name(store: Store) -> None:
    rivals = [endpoint("a", id=f"rival-{n}") for n in range(8)]
    outcomes = await asyncio.gather(
        *(store.add_endpoint(rival, event(rival)) for rival in rivals), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 7 + ["NoneType"]
    assert len(await store.all_endpoints()) == 1


async def test_lists_are_oldest_first_and_by_namespace(store: Store) -> None:
    young = endpoint("young", created_at=300.0)
    old = endpoint("old", created_at=100.0)
    middle = endpoint("middle", created_at=200.0, namespace="acme")
    twin = endpoint("twin", id="a-twin", created_at=300.0)
    for record in (young, old, middle, twin):
        await store.add_endpoint(record, event(record))
    assert [e.name for e in await store.list_endpoints()] == ["old", "middle", "twin", "young"]
    assert [e.name for e in await store.all_endpoints()] == ["old", "middle", "twin", "young"]
    assert [e.name for e in await store.list_endpoints("default")] == ["old", "twin", "young"]
    assert [e.name for e in await store.list_endpoints("nobody")] == []


async def test_a_commit_replaces_the_record_and_counts_up(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record, "made"))
    wanted = replace(record, state=State.RUNNING, ready=1, ready_since=120.0)
    committed = await store.commit(wanted, [event(record, "ready"), event(record, "served")])
    assert committed == replace(wanted, version=2)
    assert await store.get_endpoint_by_id(record.id) == committed
    assert await store.commit(committed) == replace(wanted, version=3)


async def test_a_commit_on_an_older_version_writes_nothing(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record, "made"))
    winner = await store.commit(replace(record, ready=1))
    assert await store.commit(replace(record, ready=7), [event(record, "lost")]) is None
    assert await store.get_endpoint_by_id(record.id) == winner
    assert [e.message for e in await store.list_events(record.id, limit=10)] == ["made"]


async def test_of_many_commits_at_once_exactly_one_wins(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    for round_ in range(5):
        outcomes = await asyncio.gather(
            *(store.commit(replace(record, ready=n), [event(record, f"{round_}/{n}")]) for n in range(1, 9))
        )
        (winner,) = [outcome for outcome in outcomes if outcome is not None]
        assert await store.get_endpoint_by_id(record.id) == winner
        newest = (await store.list_events(record.id, limit=1))[0]
        assert newest.message == f"{round_}/{winner.ready}"
        record = winner
    assert len(await store.list_events(record.id, limit=100)) == 6


async def test_an_endpoint_being_deleted_is_hidden_and_frees_its_name(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    leaving = await store.commit(replace(record, state=State.DELETING))
    assert leaving is not None
    assert await store.get_endpoint("default", "a") is None
    assert list(await store.list_endpoints()) == []
    assert await store.get_endpoint_by_id(record.id) == leaving
    assert list(await store.all_endpoints()) == [leaving]

    successor = endpoint("a", id="successor", created_at=200.0)
    await store.add_endpoint(successor, event(successor))
    assert await store.get_endpoint("default", "a") == successor
    assert list(await store.all_endpoints()) == [leaving, successor]

    with pytest.raises(Conflict):
        await store.commit(replace(leaving, state=State.RUNNING), [event(record, "back")])
    assert await store.get_endpoint_by_id(record.id) == leaving


async def test_a_gone_endpoint_leaves_only_its_events(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record, "made"))
    gone = replace(record, state=State.GONE)
    assert await store.commit(replace(gone, version=9)) is None, "guarded like any other commit"
    assert await store.commit(gone, [event(record, "gone")]) == replace(gone, version=2)
    assert await store.get_endpoint_by_id(record.id) is None
    assert list(await store.all_endpoints()) == []
    assert await store.commit(replace(gone, version=2)) is None
    assert [e.message for e in await store.list_events(record.id, limit=10)] == ["gone", "made"]


async def test_events_are_newest_first_as_appended_and_per_endpoint(store: Store) -> None:
    record, other = endpoint("a"), endpoint("b")
    await store.add_endpoint(record, event(record, "1", at=500.0))
    await store.add_endpoint(other, event(other, "other"))
    full = event(record, "2", at=1.5, kind="paused", actor="bob", request_id="r-1")
    await store.commit(record, [full, event(record, "3", at=1.0)])
    assert [e.message for e in await store.list_events(record.id, limit=10)] == ["3", "2", "1"]
    assert (await store.list_events(record.id, limit=2))[1] == full
    assert [e.message for e in await store.list_events(other.id, limit=10)] == ["other"]


async def test_events_are_found_by_namespace_kind_name_and_actor(store: Store) -> None:
    record, other = endpoint("a"), endpoint("b")
    elsewhere = endpoint("a", id="elsewhere", namespace="acme")
    await store.add_endpoint(record, event(record, "1", kind="made"))
    await store.add_endpoint(other, event(other, "2", kind="made"))
    await store.add_endpoint(elsewhere, event(elsewhere, "3", kind="made"))
    full = event(record, "5", at=1.5, kind="paused", actor="bob", request_id="r-1")
    await store.commit(record, [event(record, "4", kind="state"), full])

    async def found(
        name: str | None = None, actor: str | None = None, before: int | None = None, limit: int = 10
    ) -> dict[str, int]:
        events = await store.search_events(
            "default", ("made", "paused"), endpoint=name, actor=actor, before=before, limit=limit
        )
        assert all(e == full for _, e in events if e.kind == "paused")
        return {e.message: position for position, e in events}

    positions = await found()
    assert list(positions) == ["5", "2", "1"]
    assert list(positions.values()) == sorted(positions.values(), reverse=True)
    assert list(await found(name="a")) == ["5", "1"]
    assert list(await found(actor="bob")) == ["5"]
    assert list(await found(limit=2)) == ["5", "2"]
    assert list(await found(before=positions["2"])) == ["1"]
    assert list(await found(name="b", actor="bob")) == []


async def test_tokens(store: Store) -> None:
    late, early = token("late", created_at=200.0, expires_at=900.0), token("early", created_at=100.0)
    await store.add_token(late)
    await store.add_token(early)
    assert await store.find_token(late.hash) == late
    assert list(await store.list_tokens()) == [early, late]
    with pytest.raises(Conflict):
        await store.add_token(token("early", hash="another"))
    with pytest.raises(Conflict):
        await store.add_token(token("third", hash=early.hash))
    assert list(await store.list_tokens()) == [early, late]


async def test_a_token_is_revoked_once_and_stays_known(store: Store) -> None:
    await store.add_token(token("a"))
    await store.add_token(token("b"))
    revoked = token("a", revoked_at=300.0)
    assert await store.revoke_token("a", 300.0) == revoked
    assert await store.revoke_token("a", 400.0) == revoked, "the first time wins"
    assert await store.find_token(revoked.hash) == revoked
    assert list(await store.list_tokens()) == [revoked, token("b")]


async def test_namespaces_keep_the_order_of_creation(store: Store) -> None:
    for name, at in (("zebra", 300.0), ("acme", 100.0), ("middle", 200.0)):
        await store.add_namespace(name, at)
    with pytest.raises(Conflict, match="'acme'"):
        await store.add_namespace("acme", 400.0)
    assert list(await store.list_namespaces()) == ["zebra", "acme", "middle"]


async def test_the_check_of_the_key_is_set_by_who_saw_what_is_there(store: Store) -> None:
    assert await store.get_key_check() is None
    assert not await store.put_key_check("b", seen="a")
    assert await store.put_key_check("a", seen=None)
    assert not await store.put_key_check("b", seen=None)
    assert await store.get_key_check() == "a"
    assert await store.put_key_check("b", seen="a")
    assert not await store.put_key_check("c", seen="a")
    assert await store.get_key_check() == "b"


async def test_a_lease_goes_to_who_saw_it_as_it_is(store: Store) -> None:
    assert await store.get_lease() is None
    assert await store.put_lease("x", "http://x", seen=Lease("x", "http://x", 1)) is None
    first = await store.put_lease("a", "http://a", seen=None)
    assert first == Lease("a", "http://a", 1)
    assert await store.put_lease("b", "http://b", seen=None) is None
    assert await store.get_lease() == first

    renewed = await store.put_lease("a", "http://a", seen=first)
    assert renewed == Lease("a", "http://a", 2)
    for stale in (first, replace(renewed, holder="b"), replace(renewed, url="http://b")):
        assert await store.put_lease("b", "http://b", seen=stale) is None
    assert await store.get_lease() == renewed
    assert await store.put_lease("b", "http://b", seen=renewed) == Lease("b", "http://b", 3)


async def test_of_many_who_reach_for_the_lease_at_once_one_has_it(store: Store) -> None:
    seen = None
    for _ in range(3):
        outcomes = await asyncio.gather(*(store.put_lease(f"c{n}", "", seen=seen) for n in range(8)))
        (seen,) = [outcome for outcome in outcomes if outcome is not None]
        assert await store.get_lease() == seen


async def test_notices_replace_each_other_and_count_up(store: Store) -> None:
    assert list(await store.list_notices("sight")) == []
    await store.put_notice("b", "sight", "1")
    await store.put_notice("a", "sight", "")
    await store.put_notice("a", "signals", "other kind")
    await store.put_notice("b", "sight", "2")
    await store.put_notice("b", "sight", "2")
    assert list(await store.list_notices("sight")) == [
        Notice("a", "sight", "", 1),
        Notice("b", "sight", "2", 3),
    ]
    await store.drop_notices("a")
    await store.drop_notices("nobody")
    assert list(await store.list_notices("sight")) == [Notice("b", "sight", "2", 3)]
    assert list(await store.list_notices("signals")) == []


async def test_notices_put_up_at_once_are_all_counted(store: Store) -> None:
    await asyncio.gather(*(store.put_notice(f"c{n % 2}", "sight", str(n)) for n in range(20)))
    assert [(notice.control, notice.beat) for notice in await store.list_notices("sight")] == [
        ("c0", 10),
        ("c1", 10),
    ]


async def test_many_callers_at_once(store: Store) -> None:
    records = [endpoint(f"e{n:02}", created_at=float(n)) for n in range(20)]
    await asyncio.gather(*(store.add_endpoint(record, event(record)) for record in records))
    committed = await asyncio.gather(
        *(store.commit(record) for record in records), *(store.list_endpoints() for _ in range(20))
    )
    assert None not in committed
    assert [e.version for e in await store.list_endpoints()] == [2] * 20


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.close()
    with pytest.raises(Unavailable, match="not open"):
        await store.list_endpoints()
    with pytest.raises(Unavailable):
        await store.add_namespace("a", 1.0)
    await store.close()


async def test_reopening_keeps_everything(reopen: Callable[[], Store]) -> None:
    record = endpoint("a")
    async with opened(reopen()) as store:
        await store.add_endpoint(record, event(record, "made"))
        await store.commit(record, [event(record, "went on")])
        await store.add_token(token("a", expires_at=7.0))
        await store.add_namespace("default", 1.0)
    async with opened(reopen()) as store:
        assert list(await store.all_endpoints()) == [replace(record, version=2)]
        assert [e.message for e in await store.list_events(record.id, limit=9)] == ["went on", "made"]
        assert list(await store.list_tokens()) == [token("a", expires_at=7.0)]
        assert list(await store.list_namespaces()) == ["default"]


async def test_text_that_is_none_is_the_callers_fault(reopen: Callable[[], Store]) -> None:
    async with opened(reopen()) as store:
        with pytest.raises(Invalid, match="half a surrogate pair") as caught:
            await store.add_token(token("a", name="hunter2\ud800"))
        assert caught.value.__suppress_context__, "the driver's error repeats the value"
        with pytest.raises(Invalid):
            await store.get_endpoint("default", "\ud800")
        assert list(await store.list_tokens()) == []


async def test_many_open_a_fresh_database_at_once_and_share_it(reopen: Callable[[], Store]) -> None:
    async with AsyncExitStack() as stack:
        stores = [reopen() for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            stack.push_async_callback(store.close)
        record = endpoint("a")
        await stores[0].add_endpoint(record, event(record))
        assert await stores[1].get_endpoint_by_id(record.id) == record
        outcomes = await asyncio.gather(*(store.commit(record) for store in stores))
        assert len([outcome for outcome in outcomes if outcome is not None]) == 1


async def test_a_cancelled_call_harms_nobody(store: Store) -> None:
    record = endpoint("a")
    await store.add_endpoint(record, event(record))
    calls = [asyncio.ensure_future(store.commit(record, [event(record, "x")])) for _ in range(4)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    present = await store.get_endpoint_by_id(record.id)
    assert present is not None
    events = await store.list_events(record.id, limit=10)
    assert present.version == len(events), "a commit and its events are written together or not at all"
    assert await store.commit(present) is not None
