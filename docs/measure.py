"""Two of the figures in README.md: from a clone to the first answer, and from asleep to an answer.

    python docs/measure.py clone [--port 8080] [--record FILE]
                                                    git clone, make up, until the sample has answered
    python docs/measure.py wake [--times 10]        scale to zero, wait until nothing runs, time the next request

Uses folders and a port of its own, and stops what it started. Says how busy the machine was meanwhile.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "measuring-admin-token"  # noqa: S105 - of an installation that is gone afterwards
QUESTION = {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a bill"]}}
COLUMNS = 300  # so that nothing is wrapped before the picture is drawn
WITHIN_S = 900.0


class Terminal:
    """A program on a terminal of its own; `text` is all that it wrote."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.text = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, env)  # noqa: S606 - no shell is wanted
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))

    def read_until(self, words: str) -> None:
        """Return once `words` were written; raise when the program ends or takes too long."""
        deadline = time.monotonic() + WITHIN_S
        while words not in self.text:
            if time.monotonic() > deadline:
                raise SystemExit(f"no {words!r} within {WITHIN_S:.0f} s:\n{self.text}")
            self._read(1.0)

    def interrupt(self) -> None:
        """Ctrl-C, and wait for the end."""
        os.write(self._fd, b"\x03")
        try:
            while True:
                self._read(60.0)
        except SystemExit:
            os.waitpid(self._pid, 0)

    def _read(self, seconds: float) -> None:
        if not select.select([self._fd], [], [], seconds)[0]:
            return
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # how Linux tells that the other side has gone
            data = b""
        if not data:
            raise SystemExit(f"the program ended:\n{self.text}")
        self.text += data.decode(errors="replace")


def clone(port: int, record: Path | None) -> None:
    """Time `git clone` and `make up` on a fresh clone of this repository's last commit."""
    with tempfile.TemporaryDirectory(prefix="inlet-clone-") as name:
        folder = Path(name)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("INLET_", "VIRTUAL_ENV"))}
        env |= {"HOME": str(folder), "TERM": "xterm-256color", "PIP_NO_CACHE_DIR": "1"}
        begun, busy = time.monotonic(), os.getloadavg()[0]
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "inlet")], check=True)
        terminal = Terminal(["make", "up", f"PORT={port}"], folder / "inlet", env)
        terminal.read_until("Ask it yourself")
        took = time.monotonic() - begun
        terminal.read_until("Ctrl-C stops everything")
        shown = terminal.text
        terminal.interrupt()
        if record is not None:
            record.write_text(shown)
    _say(f"clone to first answer: {took:.0f} s (load before: {busy:.2f})")


def wake(times: int) -> None:
    """Time requests to a sleeping endpoint of the sample model, and the same when it is awake."""
    with tempfile.TemporaryDirectory(prefix="inlet-wake-") as name:
        home = Path(name) / "home"
        env = {k: v for k, v in os.environ.items() if not k.startswith("INLET_")}
        env |= {"INLET_HOME": str(home), "INLET_TOKEN": TOKEN}
        inlet = str(Path(sys.executable).with_name("inlet"))
        server = subprocess.Popen(
            [inlet, "up", "--port", "0", "--sample"], env=env, stdout=subprocess.PIPE, text=True
        )
        try:
            url = ""
            for line in server.stdout or ():
                url = url or (found[1] if (found := re.search(r"URL\s+(http://\S+)", line)) else "")
                if "Ctrl-C stops everything" in line:
                    break
            with httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=90
            ) as client:
                _wake(client, times)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def _wake(client: httpx.Client, times: int) -> None:
    asleep, awake = [], []
    for _ in range(times):
        time.sleep(3.0)  # until the router has reported that no request waits any more
        client.post("/v2/endpoint/default/sample/scale-to-zero").raise_for_status()
        deadline = time.monotonic() + 60
        while client.get("/v2/endpoint/default/sample/replica").json()["items"]:
            if time.monotonic() > deadline:
                raise SystemExit("the endpoint did not fall asleep")
            time.sleep(0.2)
        asleep.append(_timed(client))
        awake.append(_timed(client))
    _say(f"load {os.getloadavg()[0]:.2f}")
    for label, values in (("asleep", asleep), ("awake", awake)):
        _say(
            f"{label}: median {statistics.median(values):.3f} s, slowest {max(values):.3f} s, of {len(values)} requests"
        )


def _timed(client: httpx.Client) -> float:
    begun = time.perf_counter()
    answer: Any = client.post("/default/sample", json=QUESTION)
    answer.raise_for_status()
    return time.perf_counter() - begun


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("what", choices=("clone", "wake"))
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--times", type=int, default=10)
    flags = parser.parse_args()
    if flags.what == "clone":
        clone(flags.port, flags.record)
    else:
        wake(flags.times)


if __name__ == "__main__":
    main()
