"""Inlet as people run it: `inlet up` in a home of its own, a private endpoint, called with a token through the router."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
from tests.e2e.installation import Installation, installation, wait_for

from benchmarks.machine import SERVER_CORES, on, server_cores
from benchmarks.systems.base import INPUTS, Dialect, NotMeasured

ENDPOINT = "bench"


@dataclass(frozen=True)
class Inlet:
    """`pinned`: the precision that the endpoint asks for, or "" to let it choose."""

    name: str
    pinned: str = ""
    note: str = "through its router, private endpoint, token checked"

    def install(self) -> None:
        """It is what this environment is for."""

    @contextmanager
    def serve(self, model: Path) -> Iterator[ServedByInlet]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            env = {
                "INLET_MODELS": str(model.parent),
                "INLET_LOG_LEVEL": "warning",
                "INLET_PRECISION": self.pinned or "auto",
                # Made in the first round, found in the others.
                "INLET_ARTIFACTS": str(model.parent / "artifacts"),
            }
            try:
                with on(server_cores()), installation(Path(folder) / "home", env) as running:
                    yield self._deploy(running, model)
            except AssertionError as error:
                raise NotMeasured(str(error)) from error

    def _deploy(self, running: Installation, model: Path) -> ServedByInlet:
        running.create(
            ENDPOINT,
            str(model),
            model__task="text-classification",
            compute__instanceSize=f"x{SERVER_CORES}",
            compute__scaling__minReplica=0,  # so that it can sleep
        )
        running.wait_for_state(ENDPOINT, "running", within=600)
        headers = (("Authorization", f"Bearer {running.token('infer')}"),)
        dialect = replace(INPUTS, path=f"/default/{ENDPOINT}", headers=headers)
        return ServedByInlet(running.port, dialect, _settled_precision(running), running)


def _settled_precision(running: Installation) -> str:
    """What it computes in once it has chosen: a new model answers before its variants are built and checked."""

    def info() -> dict[str, Any]:
        answer = running.api.get(f"/default/{ENDPOINT}/info")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    wait_for("choice of a precision", lambda: info().get("settled", True), within=600, every=0.5)
    return str(info().get("precision", "fp32"))


@dataclass(frozen=True)
class ServedByInlet:
    """An endpoint that answers."""

    port: int
    dialect: Dialect
    precision: str
    installation: Installation

    def processes(self) -> list[psutil.Process]:
        """All of the installation: parent, router, control, keepers, replicas."""
        parent = self.installation.parent
        return [*([psutil.Process(parent.pid)] if parent else []), *self.installation.processes()]

    def replicas(self) -> list[psutil.Process]:
        return self.installation.replicas()

    def scale(self, replicas: int) -> None:
        """Keep that many replicas; returns when all are ready."""
        body = {"compute": {"scaling": {"minReplica": replicas, "maxReplica": replicas}}}
        self._ask("PUT", "", json=body)
        wait_for(f"{replicas} replicas", lambda: self._ready() == replicas, within=600)

    def sleep(self) -> None:
        """Scale to zero; returns when nothing of the endpoint runs."""
        # A router that still reports waiting requests would wake it again; it reports once a second.
        time.sleep(2.5)
        self._ask("POST", "/scale-to-zero")
        wait_for("sleep", lambda: not self.replicas(), within=60)

    def _ready(self) -> int:
        return int(self._ask("GET", "").json()["status"]["readyReplica"])

    def _ask(self, method: str, path: str, **more: object) -> httpx.Response:
        answer = self.installation.api.request(method, f"/v2/endpoint/default/{ENDPOINT}{path}", **more)  # type: ignore[arg-type]
        if answer.status_code != 200:
            raise NotMeasured(f"{method} {answer.url.path}: {answer.text}")
        return answer
