"""The trials of `inlet bench MODEL --sizes`: the model as an endpoint of each size, measured, and deleted again.

Called by `sizes.py`, which shows them. Must leave nothing behind: however a trial ends, its endpoint is deleted, and if
that fails the person is told its name.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer

from inlet.bench.load import Load, Recording
from inlet.bench.summary import Summary, summarise
from inlet.bench.target import build_target
from inlet.cli import output, words
from inlet.cli.measuring import example_bodies, headers, measure
from inlet.cli.progress import describe
from inlet.client import Client, EndpointInfo, endpoint_document
from inlet.client.calls import data_path
from inlet.core.errors import InletError, Invalid, NotFound, Refused
from inlet.core.pricing import FARGATE


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to try. `bodies` empty: the task's example. `concurrency` is that of the throughput. Times in seconds."""

    model: str
    sizes: Sequence[str]
    task: str | None
    bodies: Sequence[bytes]
    requests: int
    concurrency: int
    keep_alive: bool
    warm_up: int
    timeout: float
    p99: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """One size: its row of the hardware listing, and what was measured, or `because` of what it was not.

    `alone` is one request at a time, `together` is `Wanted.concurrency` of them.
    """

    size: str
    row: dict[str, Any]
    because: str | None = None
    alone: Summary | None = None
    together: Summary | None = None

    @property
    def list_price(self) -> Decimal:
        """USD an hour."""
        return Decimal(str(self.row["pricePerHour"]))

    @property
    def fargate_price(self) -> Decimal:
        """USD an hour for the same vCPU and memory."""
        return FARGATE.per_hour(Decimal(str(self.row["numCpus"])), Decimal(str(self.row["memoryGb"])))

    def meets(self, p99: float) -> bool:
        """Whether all requests were answered one at a time, 99 % of them within so many seconds."""
        if self.alone is None or self.alone.failed:
            return False
        found = self.alone.at(99)
        return found is not None and found.value <= p99


def try_all(client: Client, url: str, token: str, wanted: Wanted) -> list[Trial]:
    """One trial after the other, so that none disturbs another. `url` and `token` are those of `client`.

    Ctrl-C and SIGTERM end it with `typer.Exit`, after the endpoint of the present trial was deleted.
    """
    rows = _rows(client.hardware(), wanted.sizes)
    with _terminable():
        try:
            return [_try(client, url, token, wanted, size, row) for size, row in rows.items()]
        except KeyboardInterrupt:
            output.say("Stopped; nothing of it is left.", "yellow")
            raise typer.Exit(130) from None


def _rows(catalogue: Mapping[str, Any], sizes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The row of the hardware listing for each size."""
    listed = {row["id"]: row for row in words.hardware_rows(catalogue)}
    found = {}
    for size in sizes:
        try:
            named = words.instance(size, catalogue)
        except Invalid:
            raise Invalid(
                f"{size!r} is no instance of this server; `inlet hardware` lists them", field="--sizes"
            ) from None
        row = listed["-".join(named[key] for key in ("vendor", "region", "instance_type", "instance_size"))]
        if row["accelerator"] != "cpu":
            raise Invalid(f"{size!r} is no CPU instance, and only such can be compared", field="--sizes")
        found[size] = row
    return found


def _try(client: Client, url: str, token: str, wanted: Wanted, size: str, row: dict[str, Any]) -> Trial:
    if row["status"] == "not_available":
        return Trial(size, row, because="this server has no such instance")
    document = endpoint_document(
        f"bench-{words.name_for(wanted.model)[:12].strip('-')}-{row['instanceSize']}-{secrets.token_hex(3)}",
        words.repository_of(wanted.model, Path.cwd(), Path.home()),
        task=wanted.task,
        vendor=row["vendor"],
        region=row["region"],
        accelerator=row["accelerator"],
        instance_type=row["instanceType"],
        instance_size=row["instanceSize"],
    )
    with _temporary(client, document) as name:
        try:
            endpoint = _ready(client, name, size)
        except Refused as error:
            return Trial(size, row, because=str(error))  # it may be too small; larger ones need not be
        limits = endpoint.raw["inlet"]["limits"]
        if limits is None or not limits["whole"]:
            return Trial(
                size, row, because=endpoint.limits or "the server does not say what its replica gets"
            )
        target = build_target(
            url.rstrip("/") + data_path(client.default_namespace(), name),
            wanted.bodies or example_bodies(endpoint.task),
            headers=headers((), token),
            keep_alive=wanted.keep_alive,
        )

        def measured(connections: int) -> Summary:
            load, recording = Load(wanted.requests, connections, timeout=wanted.timeout), Recording()
            measure(target, load, recording, warm_up=wanted.warm_up, what=f"{size}, {connections} at a time")
            return summarise(recording, load)

        return Trial(size, row, alone=measured(1), together=measured(wanted.concurrency))


@contextmanager
def _temporary(client: Client, document: dict[str, Any]) -> Iterator[str]:
    """An endpoint that is gone afterwards, also when the answer to its creation did not arrive."""
    name = document["name"]
    try:
        client.create_endpoint(document)
        yield name
    finally:
        try:
            client.delete_endpoint(name)
        except NotFound:
            pass
        except (InletError, KeyboardInterrupt):
            output.say(f"Endpoint {name} may be left: `inlet endpoint delete {name}` deletes it.", "red")
            raise


def _ready(client: Client, name: str, size: str) -> EndpointInfo:
    with output.console(stderr=True).status(f"{size}: starting") as status:

        def look(endpoint: EndpointInfo) -> None:
            status.update(f"{size}: {describe(endpoint, [])}")

        client.wait(name, on_progress=look)
        status.update(f"{size}: until it is decided what the model is computed in")
        while not client.model_info(name).get("settled", True):
            time.sleep(1)
        return client.get_endpoint(name)


@contextmanager
def _terminable() -> Iterator[None]:
    """A SIGTERM is a Ctrl-C meanwhile."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
