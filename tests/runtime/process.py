"""A real replica process for the tests, on a Unix socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

HUB_CLIENT = {"user-agent": "unknown/None; hf_hub/2.4.0; python/3.11"}


def eventually(condition: Callable[[], Any], *, within: float = 60.0) -> Any:
    """The first true value of `condition`; fails when there is none in time."""
    end = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < end, f"never happened within {within} s"
        time.sleep(0.01)
    return value


class Replica:
    """`python -m inlet.runtime` below `folder`, which gets its socket, log and termination log."""

    def __init__(
        self,
        folder: Path,
        model: str | Path,
        task: str,
        *flags: str,
        env: dict[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        self.socket, self.log = folder / "r.sock", folder / "log"
        self.termination_log, self._notify_path = folder / "reason", folder / "n.sock"
        self._command = [
            str(python), "-m", "inlet.runtime", "--model", str(model), "--task", task,
            "--socket", str(self.socket), "--termination-log", str(self.termination_log), *flags,
        ]  # fmt: skip
        self._notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notifications.bind(str(self._notify_path))
        self._notifications.setblocking(False)
        self.told: list[str] = []
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "API_"))}
        extra = {"NOTIFY_SOCKET": str(self._notify_path), "INLET_REPLICA_ID": "r-1", **(env or {})}
        self.env = {**inherited, **extra}
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://replica", timeout=60
        )

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command, env=self.env, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._notifications.close()

    def health(self) -> httpx.Response | None:
        try:
            return self.http.get("/health")
        except httpx.TransportError:
            return None

    def ready(self) -> Self:
        def look() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            self.notifications()  # the kernel keeps ten or so, and the replica drops what finds no room
            answer = self.health()
            return answer is not None and answer.status_code == 200

        eventually(look)
        return self

    def post(self, value: Any, path: str = "/", **headers: str) -> httpx.Response:
        return self.http.post(path, json=value, headers=headers)

    def ask(self, value: Any, **headers: str) -> Any:
        """The JSON of a 200."""
        answer = self.http.post("/", json=value, headers=headers)
        assert answer.status_code == 200, f"{answer.text}\n{self.log.read_text()}"
        return answer.json()

    @contextmanager
    def sending(self) -> Iterator[socket.socket]:
        """A request of which the replica has the first half; `ts":"a"}` is the rest. It cannot end meanwhile."""
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(self.socket))
            raw.sendall(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 14\r\n\r\n{"inpu')
            eventually(lambda: "inlet_replica_in_flight 1.0" in self.http.get("/metrics").text)
            yield raw

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(timeout=60)

    def notifications(self) -> list[str]:
        """Every line told so far, without the id."""
        while True:
            try:
                lines = self._notifications.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told
            assert lines[0] == "INLET_REPLICA_ID=r-1"
            self.told += lines[1:]
