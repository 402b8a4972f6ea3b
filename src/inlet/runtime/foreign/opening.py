"""From options to a program that serves. Called by `starting` in place of loading a model.

The repository's files are fetched whole and as they are, since nobody here knows which of them the program will want.
"""

from __future__ import annotations

from collections.abc import Callable

from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.serving import Foreign
from inlet.runtime.foreign.upstream import Upstream
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.sources import ALL, fetch

_MOST_IN_HAND = 512


def fetched(options: Options, progress: Callable[[str], None]) -> Program:
    """The command that was asked for, with the model's files. Takes long: call it in a thread."""
    folder = fetch(
        options.location,
        commit=options.commit,
        cache=options.cache,
        token=options.token,
        progress=progress,
        selection=ALL,
    )
    return Program(options.command, health=options.health_route, port=options.program_port, folder=folder)


async def serve_program(
    program: Program, task: str, metrics: Metrics, tell: Callable[[str], None]
) -> Foreign:
    """Start it and wait until it answers; fails as `Supervisor.start` does."""
    upstream = Upstream(program, at_once=_MOST_IN_HAND, in_hand=_MOST_IN_HAND, metrics=metrics)
    await upstream.start(tell)
    return Foreign(program, upstream, task or "custom")
