"""Random histories: whatever people, platform and traffic do, and wherever a process dies, the end is right."""

from __future__ import annotations

from collections import Counter

from inlet.core.endpoint import State
from inlet.core.lifecycle import TABLE
from inlet.core.seen import Phase

from .simulator import World

HISTORIES = 1000
TICKS = 60


def _check_at_rest(world: World) -> str | None:
    """The rule in words of its own: who runs, in which revision, and how many. Answers what was blamed, if anything."""
    endpoint = world.endpoint
    running: Counter[str] = Counter()
    models: dict[str, str] = {}
    for kept in world.platform.sets.values():
        models[kept.id] = kept.model
        for process in kept.processes:
            assert process.phase is Phase.RUNNING, f"{process} is not at rest in {endpoint.state}"
            running[kept.id] += 1
    low, high = endpoint.spec.scaling.min_replica, endpoint.spec.scaling.max_replica
    match endpoint.state:
        case State.RUNNING:
            assert set(running) == {f"e-r{endpoint.target.number}"}, f"stray or missing: {running}"
            assert endpoint.target.workload == endpoint.spec.workload
            assert models[f"e-r{endpoint.target.number}"] == endpoint.spec.workload.model.repository
            assert max(1, low) <= running.total() <= max(1, high)
            assert running.total() == endpoint.ready == endpoint.replicas
            assert low > 0, "an idle endpoint that may sleep is asleep"
        case State.UPDATE_FAILED:
            assert endpoint.serving is not None
            assert set(running) == {f"e-r{endpoint.serving.number}"}
            assert models[f"e-r{endpoint.serving.number}"].startswith("good")
            assert models[f"e-r{endpoint.serving.number}"] not in world.platform.rotten
            assert max(1, low) <= running.total() <= max(1, high)
            assert endpoint.failure is not None
            return _check_blame(world)
        case State.PAUSED | State.GONE:
            assert not running
        case State.SCALED_TO_ZERO:
            assert not running
            assert low == 0
        case State.FAILED:
            assert not running
            assert endpoint.failure is not None
            assert endpoint.failure.message
            assert endpoint.serving is None
            return _check_blame(world)
        case _:
            raise AssertionError(f"not at rest: {endpoint.state} after {world.now}, {running}")
    return None


def _check_blame(world: World) -> str | None:
    """A model that can run is given up only because the platform kept ending it; others for their own reason.

    Answers the kind of model whose own reason was given.
    """
    failure = world.endpoint.failure
    assert failure is not None
    kind = world.endpoint.target.workload.model.repository.split("-")[0]
    # Every call of an attempt may be lost for as long as the start-up timeout lasts.
    if "Not ready within" in failure.message:
        return None
    killed = "failed starts" in failure.message
    assert {
        "good": killed,
        "hangs": killed,
        "crashes": killed,
        "config": killed or "config.json" in failure.message,
        "refused": "no such instance" in failure.message,
        "missing": "not on the Hub" in failure.message,
    }[kind], f"{kind}: {failure.message}"
    return kind


def test_every_history_ends_right_and_every_row_is_taken() -> None:
    taken: Counter[tuple[str, str]] = Counter()
    ends: Counter[State] = Counter()
    blamed: Counter[str | None] = Counter()
    for seed in range(HISTORIES):
        world = World(seed, taken)
        world.live(TICKS)
        world.settle()
        try:
            blamed[_check_at_rest(world)] += 1
        except AssertionError as error:
            raise AssertionError(f"history {seed}: {error}") from error
        ends[world.endpoint.state] += 1
    dead = [row for row in TABLE if not taken[row.state, row.event]]
    assert not dead, f"rows that no history takes: {dead}"
    assert blamed.keys() >= {"crashes", "config", "refused", "missing"}
    assert ends.keys() >= {
        State.RUNNING,
        State.UPDATE_FAILED,
        State.PAUSED,
        State.SCALED_TO_ZERO,
        State.FAILED,
    }
