"""A process that runs the local backend as control does, so that tests can kill it or run it as another user.

    python -m tests.backends.driver HOME hold JSON   apply the sets in JSON ([{"does", "name", "n", "env"}]) and stay
    python -m tests.backends.driver HOME churn       apply, resize and remove without end

Prints one JSON line per change: the observation, by set. Ends, leaving replicas running, when standard input closes.
"""

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import uvloop

from inlet import telemetry
from inlet.backends.local import LocalBackend
from tests.backends.worlds import FAST, SMALL, command, replica_set


async def hold(backend: LocalBackend, sets: list[dict]) -> None:
    for each in sets:
        instance = replace(SMALL, **each.get("instance", {}))
        env = {"REPLICA_DOES": each["does"], **each.get("env", {})}
        await backend.apply(replica_set(each["name"], each["n"], instance, env))
    await asyncio.Event().wait()


async def churn(backend: LocalBackend, _: None) -> None:
    for number in itertools.count():
        name = f"e{number % 3}-r1"
        await backend.apply(replica_set(name, number % 4))
        await backend.remove(f"e{(number + 1) % 3}-r1", grace=number % 2)
        await asyncio.sleep(0.01)


async def main(home: Path, what: Callable, argument: object) -> None:
    event = asyncio.Event()
    backend = LocalBackend(
        home=home,
        run_dir=home / "run",
        cache=home / "cache",
        drain_seconds=2.0,
        strict_instances=False,
        command=command,
        timing=FAST,
    )
    await backend.start(event.set)
    work = asyncio.create_task(what(backend, argument))
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not closed.done():
        event.clear()
        print(json.dumps({each.id: asdict(each) for each in await backend.observe()}), flush=True)
        changed = asyncio.create_task(event.wait())
        await asyncio.wait({changed, closed, work}, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if work.done():
            work.result()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    await backend.stop(keep_replicas=len(sys.argv) <= 4)


if __name__ == "__main__":
    telemetry.configure(process="driver", level="error", format_="json")
    uvloop.run(
        main(
            Path(sys.argv[1]),
            {"hold": hold, "churn": churn}[sys.argv[2]],
            json.loads(sys.argv[3]) if len(sys.argv) > 3 else None,
        )
    )
