"""A process that keeps spares as control does, so that tests can kill it: `python -m tests.backends.warm_driver HOME`.

Prints the endpoint's replica once it is ready, and a line whenever something changes. Ends, leaving the replica running,
when standard input closes.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from inlet import telemetry
from tests.backends.test_warm_pool import WarmWorld, served


async def main(home: Path) -> None:
    world = WarmWorld(home)
    await world.open()
    await asyncio.to_thread(world.spare)
    await world.backend.apply(served())
    await world.until_ready()
    await asyncio.to_thread(world.spare)
    print("both are there", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await world.backend.stop(keep_replicas=True)


if __name__ == "__main__":
    telemetry.configure(process="driver", level="error", format_="json")
    uvloop.run(main(Path(sys.argv[1])))
