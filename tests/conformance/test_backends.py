"""What every backend must do, whatever it runs replicas on. One body, every implementation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inlet.core.catalogue import CATALOGUE, Availability
from inlet.core.seen import ExitKind, Phase
from tests.backends.worlds import FakeWorld, LocalWorld, World, lines, ready


@pytest.fixture(params=["fake", "local"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made: World = FakeWorld() if request.param == "fake" else LocalWorld(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_nothing_runs_before_anything_is_applied(world: World) -> None:
    assert await world.backend.observe() == ()


async def test_apply_brings_up_what_was_asked_for(world: World) -> None:
    await world.backend.apply(world.does("serve", n=2))
    seen = await world.until(ready("e1-r1", 2))
    found = seen["e1-r1"]
    assert (found.endpoint_id, found.revision, found.n, found.failed_starts) == ("e1", 1, 2, 0)
    assert found.last_exit is None
    assert found.limits
    assert len({replica.address for replica in found.ready}) == 2
    assert all(
        replica.id.startswith("e1-r1-") and replica.started_at is not None for replica in found.replicas
    )


async def test_a_replica_is_shown_before_it_is_ready(world: World) -> None:
    await world.backend.apply(world.does("serve"))
    (found,) = await world.at_once()
    (replica,) = found.replicas
    assert replica.phase in (Phase.PENDING, Phase.INITIALIZING)
    assert found.ready == ()


async def test_applying_the_same_again_changes_nothing(world: World) -> None:
    await world.backend.apply(world.does("serve", n=2))
    before = await world.until(ready("e1-r1", 2))
    changes = world.changes
    await world.backend.apply(world.does("serve", n=2))
    (after,) = await world.backend.observe()
    assert {replica.id for replica in after.replicas} == {replica.id for replica in before["e1-r1"].replicas}
    assert world.changes == changes, "an observation would not differ, so nobody should be woken"


async def test_growing_keeps_those_that_are_there(world: World) -> None:
    await world.backend.apply(world.does("serve", n=1))
    (first,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.backend.apply(world.does("serve", n=3))
    grown = (await world.until(ready("e1-r1", 3)))["e1-r1"]
    assert first.id in {replica.id for replica in grown.replicas}


async def test_shrinking_drains_the_youngest(world: World) -> None:
    await world.backend.apply(world.does("serve", n=1))
    (oldest,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.backend.apply(world.does("serve", n=3))
    await world.until(ready("e1-r1", 3))
    await world.backend.apply(world.does("serve", n=1))
    (at_once,) = await world.at_once()
    assert at_once.n == 1
    assert [replica.id for replica in at_once.ready] == [oldest.id]
    assert sum(replica.phase is Phase.TERMINATING for replica in at_once.replicas) == 2
    (left,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    assert left.id == oldest.id


async def test_shrinking_prefers_one_that_is_not_ready(world: World) -> None:
    await world.backend.apply(world.does("serve", n=1))
    (serving,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.backend.apply(world.does("never", n=2))
    await world.until(lambda seen: len(seen["e1-r1"].replicas) == 2)
    await world.backend.apply(world.does("never", n=1))
    (at_once,) = await world.at_once()
    assert [replica.id for replica in at_once.ready] == [serving.id]


async def test_none_wanted_is_a_set_without_replicas(world: World) -> None:
    await world.backend.apply(world.does("serve", n=1))
    await world.until(ready("e1-r1"))
    await world.backend.apply(world.does("serve", n=0))
    seen = await world.until(lambda seen: not seen["e1-r1"].replicas)
    assert (seen["e1-r1"].n, seen["e1-r1"].failed_starts, seen["e1-r1"].last_exit) == (0, 0, None)


async def test_remove_drains_and_then_forgets(world: World) -> None:
    await world.backend.apply(world.does("serve", n=2))
    await world.until(ready("e1-r1", 2))
    await world.backend.remove("e1-r1", grace=5.0)
    (at_once,) = await world.at_once()
    assert [replica.phase for replica in at_once.replicas] == [Phase.TERMINATING] * 2
    changes = world.changes
    await world.backend.remove("e1-r1", grace=5.0)
    assert world.changes == changes, "asked again, nothing changes"
    await world.until(lambda seen: not seen)


async def test_removing_what_is_unknown_succeeds(world: World) -> None:
    await world.backend.remove("never-r7", grace=1.0)
    assert await world.backend.observe() == ()


async def test_applied_again_while_it_is_being_removed(world: World) -> None:
    await world.backend.apply(world.does("serve"))
    (old,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.backend.remove("e1-r1", grace=5.0)
    await world.backend.apply(world.does("serve"))
    (new,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    assert new.id != old.id


async def test_an_observation_has_every_set(world: World) -> None:
    await world.backend.apply(world.does("serve", "e1-r1"))
    await world.backend.apply(world.does("serve", "e1-r2"))
    await world.backend.apply(world.does("never", "e2-r1"))
    seen = await world.until(lambda seen: ready("e1-r1")(seen) and ready("e1-r2")(seen))
    assert {(each.endpoint_id, each.revision) for each in seen.values()} == {("e1", 1), ("e1", 2), ("e2", 1)}
    assert not seen["e2-r1"].ready


async def test_changes_are_told(world: World) -> None:
    before = world.changes
    await world.backend.apply(world.does("serve"))
    await world.until(ready("e1-r1"))
    assert world.changes > before


async def test_one_that_crashes_at_the_start_is_tried_again_and_counted(world: World) -> None:
    await world.backend.apply(world.does("crash"))
    seen = await world.until(lambda seen: seen["e1-r1"].failed_starts >= 3)
    last = seen["e1-r1"].last_exit
    assert last is not None
    assert (last.kind, last.code) == (ExitKind.CRASHED, 1)
    assert last.message.startswith("Ended with code 1: ")
    assert seen["e1-r1"].n == 1


async def test_one_that_crashes_while_serving_is_replaced(world: World) -> None:
    await world.backend.apply(world.does("serve"))
    (old,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    await world.crash(old)
    seen = await world.until(lambda seen: ready("e1-r1")(seen) and seen["e1-r1"].replicas[0].id != old.id)
    assert seen["e1-r1"].last_exit is not None
    assert seen["e1-r1"].last_exit.kind is ExitKind.CRASHED


async def test_a_wrong_configuration_is_not_tried_again(world: World) -> None:
    await world.backend.apply(world.does("config"))
    seen = await world.until(lambda seen: seen["e1-r1"].last_exit is not None)
    assert seen["e1-r1"].last_exit.kind is ExitKind.CONFIGURATION
    assert "The model has no such task" in seen["e1-r1"].last_exit.message
    assert (seen["e1-r1"].n, seen["e1-r1"].failed_starts, seen["e1-r1"].replicas) == (1, 1, ())
    await world.backend.apply(world.does("config"))
    (same,) = await world.backend.observe()
    assert same.replicas == (), "the same again cannot help"


async def test_a_changed_set_is_tried_again_after_a_wrong_configuration(world: World) -> None:
    await world.backend.apply(world.does("config"))
    await world.until(lambda seen: seen["e1-r1"].last_exit is not None)
    await world.backend.apply(world.does("serve", n=2))
    await world.until(ready("e1-r1", 2))


async def test_replicas_outlive_a_restart_that_keeps_them(world: World) -> None:
    await world.backend.apply(world.does("serve", n=2))
    before = await world.until(ready("e1-r1", 2))
    await world.restart(keep_replicas=True)
    (after,) = await world.backend.observe()
    assert len(after.ready) == 2, "the first observation already knows who is ready"
    assert {r.id for r in after.ready} == {r.id for r in before["e1-r1"].ready}
    assert after.n == 2


async def test_nothing_outlives_a_stop_that_does_not_keep(world: World) -> None:
    await world.backend.apply(world.does("serve", n=2))
    await world.until(ready("e1-r1", 2))
    await world.restart(keep_replicas=False)
    assert await world.backend.observe() == ()


async def test_logs_outlive_their_replica_until_the_endpoint_is_forgotten(world: World) -> None:
    await world.backend.apply(world.does("serve", "e1-r1", n=2))
    seen = await world.until(ready("e1-r1", 2))
    one, other = seen["e1-r1"].replicas
    await world.backend.remove("e1-r1", grace=5.0)
    await world.until(lambda seen: not seen)
    every = await lines(world.backend, "e1")
    assert {line.replica_id for line in every} == {one.id, other.id}
    assert [line.at for line in every] == sorted(line.at for line in every)
    only = await lines(world.backend, "e1", replica_id=one.id)
    assert only == [line for line in every if line.replica_id == one.id]
    assert await lines(world.backend, "e1", tail=2) == every[-2:]
    assert await lines(world.backend, "e2") == []
    await world.backend.forget("e1")
    assert await lines(world.backend, "e1") == []


async def test_forgetting_what_is_unknown_succeeds(world: World) -> None:
    await world.backend.forget("never")


async def test_the_catalogue_has_every_row_and_cpus_can_be_had(world: World) -> None:
    rows = await world.backend.catalogue()
    assert [row.id for row in rows] == [row.id for row in CATALOGUE]
    for row, original in zip(rows, CATALOGUE, strict=True):
        if row.accelerator == "cpu":
            assert row.status is original.status
    assert any(row.status is Availability.DEPRECATED for row in rows)
