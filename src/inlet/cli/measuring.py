"""What `inlet bench` does to measure once: what to send, requests that are not counted, the run with its progress bar.

Called by `bench.py` and `trials.py`; the load itself is `inlet.bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from inlet.bench.load import Load, Recording, run
from inlet.bench.target import Target
from inlet.cli import words
from inlet.cli.output import console
from inlet.core.errors import InletError, Invalid


def bodies(text: str | None, body: str | None, file: Path | None) -> list[bytes]:
    """What the options say to send, each to be sent in turn; nothing if they say nothing."""
    if sum(given is not None for given in (text, body, file)) > 1:
        raise Invalid("only one of --text, --body and --file can say what to send", field="--body")
    if text is not None:
        return [orjson.dumps({"inputs": text})]
    if body is not None:
        return [body.encode()]
    if file is None:
        return []
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}", field="--file") from None
    found = [line for line in content.splitlines() if line.strip()] if file.suffix == ".jsonl" else [content]
    if not any(found):
        raise Invalid(f"{file} is empty", field="--file")
    return found


def example_bodies(task: str | None) -> list[bytes]:
    """The example of a task that an endpoint serves."""
    example = words.example(task)
    if example is None:
        raise Invalid(
            f"no example is known for the task {task or '(none)'}: say what to send", field="--body"
        )
    return [orjson.dumps(example)]


def measure(target: Target, load: Load, recording: Recording, *, warm_up: int, what: str) -> None:
    """Send `warm_up` requests that are not counted, then `load`, and fill `recording`. Ctrl-C ends it early.

    `what` names it beside the bar. `InletError` if none of the first requests is answered with success: then
    none of the others would tell anything.
    """
    if warm_up:
        first = Recording()
        clients = load.connections if load.rate is None else 1
        with _bar(f"{what}: warming up", warm_up) as show:
            run(target, Load(warm_up, clients, timeout=load.timeout), first, show)
        if not first.latencies:
            kind, count = first.failures.most_common(1)[0]
            said = first.answers.get(kind)
            raise InletError(
                f"{count} of the first {warm_up} requests failed, none succeeded: {kind}"
                + (f" {said}" if said else "")
            )
    with _bar(what, load.requests) as show:
        run(target, load, recording, show)


def headers(items: Sequence[str], token: str | None) -> Mapping[str, str]:
    """`Name: value` items, and the token as callers send it."""
    found = {} if token is None else {"authorization": f"Bearer {token}"}
    for item in items:
        name, colon, value = item.partition(":")
        if not colon or not name.strip():
            raise Invalid(f"{item!r} must be 'Name: value'", field="--header")
        found[name.strip().lower()] = value.strip()
    return found


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while it runs; nothing where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    out = console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=out, transient=True, disable=not out.is_terminal, refresh_per_second=4
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
