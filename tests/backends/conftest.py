"""Worlds of real processes, and the promise that none of them outlives its test."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.backends.worlds import WITHIN_S, LocalWorld, eventually
from tests.control_groups import subtrees_of


def processes_of(home: Path) -> list[int]:
    """Everything that runs and reports to this installation."""
    marker = f"NOTIFY_SOCKET={home / 'run' / 'notify.sock'}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def kill(pids: Iterable[int]) -> None:
    """SIGKILL for each in turn; what went with one before it is gone already, and that is as well."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kept(home: Path) -> dict[str, Path]:
    """The folder of every replica that is on record, by its id."""
    return {path.name: path for path in home.glob("replicas/*/*") if path.is_dir()}


def keeper_of(home: Path, replica_id: str) -> int:
    return json.loads((kept(home)[replica_id] / "keeper.json").read_text())["pid"]


def none_is_left(home: Path) -> None:
    """Nothing runs; what was killed takes a moment to be gone."""
    eventually(lambda: processes_of(home) == [], within=20)


def assert_clean(home: Path) -> None:
    """Nothing runs and nothing is on record."""
    left = [str(path.relative_to(home)) for path in sorted((home / "replicas").rglob("*"))]
    assert left == ["replicas/lock"]
    none_is_left(home)
    assert subtrees_of(home) == []


@pytest.fixture
def home() -> Iterator[Path]:
    """Short, because Unix sockets live below it; and nothing may be left of it."""
    with tempfile.TemporaryDirectory(prefix="inlet-") as name:
        yield Path(name)
        try:
            none_is_left(Path(name))
        finally:
            kill(processes_of(Path(name)))


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home that an unprivileged user can use."""
    folder = Path(tempfile.mkdtemp(prefix="inlet-"))
    folder.chmod(0o777)
    yield folder
    none_is_left(folder)
    shutil.rmtree(folder)


@pytest.fixture
async def world(home: Path) -> AsyncIterator[LocalWorld]:
    made = LocalWorld(home)
    await made.open()
    yield made
    await made.close()
    assert_clean(home)
    assert not list((home / "run").iterdir())


class Driver:
    """`tests/backends/driver.py` in a process of its own."""

    def __init__(self, home: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.backends.driver", str(home), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(home),
                "INLET_TOKEN": "not for replicas",
            },
            text=True,
        )

    def until(self, condition: Callable[[dict], object]) -> dict:
        """The first observation that fulfils the condition."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seen = json.loads(line)
            if condition(seen):
                return seen
        raise AssertionError(f"the driver ended with {self.process.wait()} first")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        # Reads what it still says: it would stand still before a pipe that is full.
        self.process.communicate(timeout=WITHIN_S)
        assert self.process.returncode == 0


@pytest.fixture
def driver() -> Iterator[Callable[..., Driver]]:
    started: list[Driver] = []

    def start(home: Path, *arguments: str, **options: tuple[str, ...]) -> Driver:
        started.append(Driver(home, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
        for stream in (each.process.stdin, each.process.stdout):
            if stream is not None:
                stream.close()
