"""A replica on a port, for clients that know URLs only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.runtime.process import eventually
from tests.system import reserved_port


@contextmanager
def serving(model: Path, task: str) -> Iterator[str]:
    """The URL of one that is ready."""
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "inlet.runtime",
            "--model",
            str(model),
            "--task",
            task,
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

        def ready() -> bool:
            assert process.poll() is None
            try:
                return httpx.get(f"{url}/health").status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(ready)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
