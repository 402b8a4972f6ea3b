"""A real PostgreSQL server for tests: in a temporary folder, on a free port, one for the whole run.

`server()` is what the fixture `postgresql` of `tests/conftest.py` starts. Where the programs are missing they are
installed with apt-get, if that is allowed; else the tests that need them are skipped with the reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy.engine import URL

from inlet.process import die_with_parent

ROLE, PASSWORD = "inlet", "hunter2 @/:%é"  # such that a URL put together carelessly does not work
_ADMIN = "admin"
_UNPRIVILEGED = ("postgres", "nobody")  # the server refuses to run as root


class Missing(Exception):
    """There is no PostgreSQL here; the reason is for a skip."""


class Server:
    """`start()` (in the main thread, with which it ends) and `stop()` as often as a test likes; the databases stay."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self.port = programs, folder, 0
        self._data = folder / "data"
        self._names = count()
        self._databases: list[str] = []
        self._user = next(user for user in _UNPRIVILEGED if _exists(user)) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            for path in (self._folder, password):
                shutil.chown(path, self._user)
        options = ["--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", "--no-sync"]
        made = self._run("initdb", "-D", self._data, "-U", _ADMIN, f"--pwfile={password}", *options)
        assert made.wait(60) == 0, self._log()
        self.port = _free_port()
        self.start()
        self.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Does nothing if it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        # A killed server is tested, a power cut is not: what reached the kernel is there again without fsync.
        self._process = self._run(
            "postgres", "-D", self._data, "-p", self.port, "-k", self._folder, "-c", "fsync=off"
        )
        self._until_it_answers()

    def stop(self, sig: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast and in order. SIGQUIT: immediate, as after a crash."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(sig)
            self._process.wait(60)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            for process in (*psutil.Process(self._process.pid).children(), self._process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(60)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of it stands still; connections are accepted by the kernel and answered by nobody."""
        assert self._process is not None
        stopped = [psutil.Process(self._process.pid)]
        stopped[0].suspend()
        try:
            for process in stopped[0].children():
                process.suspend()
                stopped.append(process)
            yield
        finally:
            for process in reversed(stopped):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            self._until_it_answers()

    def database(self, options: str = "") -> URL:
        """A new, empty database that belongs to `ROLE`; `options` as CREATE DATABASE takes them.

        Also where the test before has left the server stopped.
        """
        self.start()
        name = f"inlet_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name} OWNER {ROLE} {options}")
        self._databases.append(name)
        return self.url(name)

    def drop_databases(self) -> None:
        """All that were made so far: each takes 8 MB."""
        self.start()
        while self._databases:
            self.sql(f"DROP DATABASE {self._databases.pop()} WITH (FORCE)")

    def url(self, database: str, **changes: Any) -> URL:
        whole = URL.create("postgresql", ROLE, PASSWORD, "127.0.0.1", self.port, database)
        return whole.set(**changes)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As the server's administrator."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_ADMIN,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        ) as connection:
            answer = connection.execute(statement)
            return answer.fetchall() if answer.description else []

    def cut_connections(self, database: str) -> int:
        """End every connection to it from the server's side; how many there were."""
        return len(
            self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        )

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self._log()
            try:
                self.sql("SELECT 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self._log()
                time.sleep(0.02)

    def _run(self, program: str, *args: object) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *map(str, args)],
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else (),
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509 - a killed test run must leave no server behind
            )

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Started, with a role of no special rights; `Missing` where there is none and none can be installed."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="inlet-pg-") as folder:
        made = Server(programs, Path(folder))
        try:
            made.initialise()
            yield made
        finally:
            made.kill()


def _programs() -> Path:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with (Path(tempfile.gettempdir()) / "inlet-tests-apt-get.lock").open("w") as lock:
            # Several test processes may want it at once, and the programs are there before all that they need is.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _found() is None:
                _install()
    found = _found()
    if found is None:
        raise Missing(
            "no PostgreSQL on PATH or in /usr/lib/postgresql, and only root can install one (with apt-get)"
        )
    return found


def _found() -> Path | None:
    """The folder with `initdb` and `postgres`: one on PATH, else the newest that Debian has installed beside it."""
    on_path = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in (*([Path(on_path).resolve().parent] if on_path else []), *reversed(installed)):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _install() -> None:
    for command in ("update", "install -y --no-install-recommends postgresql"):
        done = subprocess.run(
            ["apt-get", "-q", *command.split()],
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode != 0:
            raise Missing(f"no PostgreSQL here, and apt-get {command} failed: {done.stderr.strip()[-300:]}")


def _free_port() -> int:
    """Below those that the kernel gives to whoever wants any, so that none of them takes it while the server is stopped.

    By the process, so that no two test processes try the same one.
    """
    lowest, several = 20_000, 12_000
    for number in range(several):
        port = lowest + (os.getpid() + number) % several
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise Missing("no port is free for a PostgreSQL")


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _die_with_us() -> None:
    if sys.platform.startswith("linux"):
        die_with_parent(signal.SIGQUIT)
