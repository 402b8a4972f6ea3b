"""Shows how an endpoint starts, until it answers. Called by every command that can wait.

On a terminal one live line; elsewhere a line for each change, on standard error either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from inlet.cli.output import console
from inlet.core.errors import InletError

if TYPE_CHECKING:
    from inlet.client import Client, EndpointInfo


def wait_until_ready(client: Client, name: str) -> EndpointInfo:
    """The endpoint once it answers. Ctrl-C stops only the waiting, and says so."""
    try:
        with shown() as show:

            def look(endpoint: EndpointInfo) -> None:
                show(describe(endpoint, _stages(client, name)))

            return client.wait(name, on_progress=look)
    except KeyboardInterrupt:
        console(stderr=True).print(
            f"\nStopped waiting; {name} goes on starting. See `inlet endpoint describe {name}`."
        )
        raise typer.Exit(130) from None


def describe(endpoint: EndpointInfo, stages: list[str]) -> str:
    """One line: the state, what the server says of it, and the stages of replicas that are not ready yet."""
    parts = [endpoint.state]
    if endpoint.message:
        parts.append(endpoint.message)
    starting = [stage for stage in stages if stage not in ("running", "terminating", "stopped")]
    if starting:
        parts.append("replicas " + ", ".join(starting))
    return " · ".join(parts)


def _stages(client: Client, name: str) -> list[str]:
    try:
        return [str(replica["status"]["stage"]) for replica in client.replicas(name)]
    except (InletError, KeyError, TypeError):
        return []  # an ornament of the line, not what is waited for


@contextmanager
def shown() -> Iterator[Callable[[str], None]]:
    """Show one line after another, each in place of the last, until the end of the block."""
    began = time.monotonic()
    out = console(stderr=True)
    if out.is_terminal:
        from rich.live import Live
        from rich.spinner import Spinner

        line = ""

        def rendered() -> Spinner:
            spinner.update(
                text=Text(f"{line} · {time.monotonic() - began:.0f} s", overflow="ellipsis", no_wrap=True)
            )
            return spinner

        spinner = Spinner("dots")
        with Live(get_renderable=rendered, console=out, refresh_per_second=8, transient=True):

            def show_live(text: str) -> None:
                nonlocal line
                line = text

            yield show_live
        return
    last = ""

    def show(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            out.print(f"{time.monotonic() - began:5.1f} s  {text}")

    yield show
