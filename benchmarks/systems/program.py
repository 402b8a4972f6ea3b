"""A server that is one command in an environment of its own: how it is installed, started, awaited and stopped.

Used by `registry`, which has the commands. Output goes to a file that is shown when the server does not start.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import psutil
from tests.environments import VENVS, environment

from benchmarks.machine import on, server_cores
from benchmarks.systems.base import Dialect, NotMeasured

ROOT = Path(__file__).resolve().parents[2]
_START_S = 300.0

Command: TypeAlias = Callable[[Path, Path, int], Sequence[str]]


@dataclass(frozen=True)
class Environment:
    """`requirements` of `.venvs/bench-{name}`, each pinned; whatever they need follows from them."""

    name: str
    requirements: tuple[str, ...]

    def python(self) -> Path:
        """Made when it is not there."""
        name = f"bench-{self.name}"
        stamp = VENVS / name / "requirements.txt"
        if not stamp.exists() or stamp.read_text().split("\n") != list(self.requirements):
            print(f"installing {name}, a minute or two: {' '.join(self.requirements)}", flush=True)
        try:
            return environment(name, *self.requirements)
        except subprocess.CalledProcessError as error:
            raise NotMeasured(f"pip could not install {' '.join(self.requirements)}") from error


@dataclass(frozen=True)
class Program:
    """`command` makes the words of the command line of the environment's Python, the model's folder and a port.

    `kind` and `precision` are told to those of `servers/`, see `servers/classifier`.
    """

    name: str
    precision: str
    environment: Environment
    command: Command
    dialect: Dialect
    kind: str
    note: str

    def install(self) -> None:
        self.environment.python()

    @contextmanager
    def serve(self, model: Path) -> Iterator[Running]:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            port = _free_port()
            log = folder / "log"
            with log.open("wb") as output, on(server_cores()):
                process = subprocess.Popen(
                    list(self.command(self.environment.python(), model, port)),
                    cwd=folder,
                    env=self._environ(model, port),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            running = Running(port, self.dialect, self.precision, process)
            try:
                running.await_answer(log)
                yield running
            finally:
                running.stop()

    def _environ(self, model: Path, port: int) -> dict[str, str]:
        """Ours without what would change a server; the checkout is on the path, for `servers/` and for our engine."""
        others = ("INLET_", "HF_", "OMP_", "MKL_", "PYTHON")
        return {name: value for name, value in os.environ.items() if not name.startswith(others)} | {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "BENCH_MODEL": str(model),
            "BENCH_PORT": str(port),
            "BENCH_KIND": self.kind,
            "BENCH_PRECISION": self.precision,
        }


@dataclass(frozen=True)
class Running:
    """A started program."""

    port: int
    dialect: Dialect
    precision: str
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def await_answer(self, log: Path) -> None:
        """Until a request is answered: what a server's own readiness means differs too much."""
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self.process.poll() is not None:
                raise NotMeasured(f"it ended while starting: {_tail(log)}")
            if time.monotonic() > deadline:
                raise NotMeasured(f"no answer within {_START_S:.0f} s: {_tail(log)}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        call = self.dialect.call("a", 0, keep_alive=False)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as raw:
                raw.sendall(call.wire)
                answer = http.client.HTTPResponse(raw)
                answer.begin()
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """The whole session: some servers leave workers behind."""
        processes = []
        with suppress(psutil.NoSuchProcess):
            processes = self.processes()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _tail(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-400:] or "it wrote nothing"
