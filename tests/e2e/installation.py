"""One real installation for a test: `inlet up` in a home of its own, on a free port, and the means to kill parts of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

TOKEN = "e2e-admin-token-of-the-tests"
INLET = str(Path(sys.executable).with_name("inlet"))


def wait_for(what: str, condition: Callable[[], Any], *, within: float = 60.0, every: float = 0.05) -> Any:
    """The first truthy answer of `condition`; fails the test with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {within} s")
        time.sleep(every)
    return found


def command(process: psutil.Process) -> list[str]:
    """The words of its command line; none when it has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def replica_id(process: psutil.Process) -> str:
    """Which replica it is; empty when it has just ended."""
    try:
        return str(process.environ().get("INLET_REPLICA_ID", ""))
    except psutil.NoSuchProcess:
        return ""


def is_keeper(words: list[str]) -> bool:
    """Whether this is the command line of a replica's keeper, which also holds that of the replica."""
    return any("keeper" in word for word in words)


def is_spare(words: list[str]) -> bool:
    """Whether it is a process that waits to become a replica, or the keeper of one."""
    return "--spare" in words or "inlet.runtime.spare" in words


class Installation:
    """`start()`, then `url`, `api` (an httpx client of the public API with the admin token), and kills."""

    def __init__(
        self,
        home: Path,
        env: Mapping[str, str] | None = None,
        args: tuple[str, ...] = (),
        program: str | Path = INLET,
    ) -> None:
        self.home = home
        self._args = args
        self._program = program
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(("INLET_", "HF_"))}
        self._env |= {
            "INLET_HOME": str(home),
            "INLET_TOKEN": TOKEN,
            "INLET_DRAIN_SECONDS": "10",
            "INLET_PRECISION": "fp32",  # what these tests are about is the same; a check takes minutes of processor time
            **(env or {}),
        }
        self._output = home.with_suffix(".out")
        self.port = 0
        self.parent: subprocess.Popen[bytes] | None = None
        self.api = httpx.Client()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, within: float = 90.0) -> float:
        """Seconds until `/readyz`. The port stays the same over restarts."""
        started = time.monotonic()
        with self._output.open("ab") as output:
            self.parent = subprocess.Popen(
                [self._program, "up", "--port", str(self.port), *self._args],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.port = self.port or wait_for("URL printed", self._printed_port, within=within)
        self.api = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=httpx.Timeout(70.0)
        )
        wait_for(f"/readyz; output:\n{self.output()}", self.is_ready, within=within)
        return time.monotonic() - started

    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def _printed_port(self) -> int | None:
        assert self.parent is not None
        assert self.parent.poll() is None, f"inlet up ended: {self.output()}"
        words = self.output().split()
        urls = [w for w in words if w.startswith("http://127.0.0.1:")]
        return int(urls[0].rsplit(":", 1)[1]) if urls else None

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, *, within: float = 120.0) -> int:
        """Ctrl-C; the exit code."""
        assert self.parent is not None
        self.parent.send_signal(signal.SIGINT)
        return self.parent.wait(within)

    def kill_parent(self) -> None:
        assert self.parent is not None
        self.parent.kill()
        self.parent.wait(60)

    # Processes

    def child(self, module: str) -> psutil.Process:
        """The router (`inlet.router`) or control (`inlet.control`) of this installation."""
        assert self.parent is not None
        for process in psutil.Process(self.parent.pid).children():
            if module in process.cmdline():
                return process
        raise AssertionError(f"no {module} runs")

    def processes(self) -> list[psutil.Process]:
        """Every process of this installation but the parent: it names the home in its arguments or environment.

        Of a keeper it is the socket that it tells its news to.
        """
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or (self.parent and process.pid == self.parent.pid):
                    continue
                variables = process.environ()
                named = [*process.cmdline(), *(variables.get(v, "") for v in ("INLET_HOME", "NOTIFY_SOCKET"))]
                if str(self.home) in " ".join(named) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def kill(self) -> None:
        """Whatever of it still runs, so that a failed test leaves nothing behind."""
        if self.parent is not None and self.parent.poll() is None:
            self.parent.kill()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def wait_for_end(self) -> None:
        """Until nothing of it runs any more, whoever's parent it was."""
        wait_for("end of all processes", lambda: not self.processes())

    def replicas(self) -> list[psutil.Process]:
        """The serving processes (not their keepers)."""
        return [
            p for p in self.processes() if "inlet.runtime" in (words := command(p)) and not is_keeper(words)
        ]

    # The public API, for tests that are not about clients

    def body(self, name: str, repository: str, **changes: Any) -> dict[str, Any]:
        """What is posted to make an endpoint; `changes` name places in it, with two underscores for each step down."""
        body: dict[str, Any] = {
            "name": name,
            "type": "private",
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {
                "accelerator": "cpu",
                "instanceType": "intel-spr",
                "instanceSize": "x1",
                "scaling": {"minReplica": 1, "maxReplica": 1},
            },
            "model": {"framework": "pytorch", "repository": repository, "image": {"huggingface": {}}},
        }
        for dotted, value in changes.items():
            target = body
            *path, last = dotted.split("__")
            for part in path:
                target = target.setdefault(part, {})
            target[last] = value
        return body

    def create(self, name: str, repository: str, **changes: Any) -> dict[str, Any]:
        """Make an endpoint; what the API shows of it."""
        answer = self.api.post("/v2/endpoint/default", json=self.body(name, repository, **changes))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def token(self, *permissions: str) -> str:
        """A new token that may do this everywhere."""
        body = {"name": "-".join(permissions), "permissions": [{"permission": p} for p in permissions]}
        answer = self.api.post("/api/inlet/tokens", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def endpoint(self, name: str) -> dict[str, Any]:
        answer = self.api.get(f"/v2/endpoint/default/{name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def delete(self, name: str) -> None:
        """Delete an endpoint; its replicas may go on draining for a while."""
        path = f"/v2/endpoint/default/{name}"
        assert self.api.delete(path).status_code == 200
        wait_for(f"end of {name}", lambda: self.api.get(path).status_code == 404, within=60)

    def wait_for_state(self, name: str, state: str, *, within: float = 120.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            found = self.endpoint(name)
            assert found["status"]["state"] != "failed" or state == "failed", found["status"]
            return found if found["status"]["state"] == state else None

        return dict(wait_for(f"state {state} of {name}", reached, within=within))


def contents(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below `home`, but those that vanish while we look."""
    for folder, _, names in os.walk(home):
        for path in (Path(folder) / name for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    yield path, path.read_bytes()


@contextmanager
def installation(
    home: Path,
    env: Mapping[str, str] | None = None,
    args: tuple[str, ...] = (),
    program: str | Path = INLET,
) -> Iterator[Installation]:
    """A started installation; stopped afterwards, and nothing of it may be left running."""
    inlet = Installation(home, env, args, program)
    try:
        inlet.start()
        yield inlet
        inlet.stop()
        inlet.wait_for_end()
    finally:
        inlet.kill()
