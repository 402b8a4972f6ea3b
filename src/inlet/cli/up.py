"""`inlet up`: the small parent of router and control, and the first thing that a newcomer sees.

Binds the public port and keeps it, so that callers wait rather than fail while a router is replaced. Starts router and
control, restarts either when it dies, shows how to use what runs, and on Ctrl-C stops everything in order. If it is
killed itself, router and control go with it and replicas stay; the next `inlet up` adopts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
from rich.console import Console

from inlet import __version__, process
from inlet.cli import sample
from inlet.cli.children import Child
from inlet.cli.errors import report
from inlet.control.bootstrap import (
    ensure_namespace,
    first_token,
    preset_token,
    refresh_context,
    refuse_while_led,
)
from inlet.control.identity import own_id
from inlet.control.vault import Vault
from inlet.core.errors import InletError, Invalid, Refused, Unavailable
from inlet.core.origin import is_origin
from inlet.settings import Settings, secret_variables
from inlet.store.sql import SqlStore, database_url
from inlet.wire import link

START_WITHIN_S = 60.0
BIND_WITHIN_S = 3.0  # the router of a parent that was killed needs a moment to let go of the port
READY_RETRY_S = 0.05
ASK_WITHIN_S = 10.0  # control may be just starting when Ctrl-C comes
_NOT_FOR_THE_ROUTER = frozenset({*secret_variables(), "HF_TOKEN"})


def run(*, host: str | None, port: int | None, with_sample: bool, new_key: bool) -> None:
    """Run until Ctrl-C or SIGTERM; raises an `InletError` that says what to mend if it cannot start."""
    settings = Settings.from_env()
    hub = os.environ.get("HF_ENDPOINT", "")
    if hub and not is_origin(hub):
        raise Invalid(f"{hub!r} is not an address like https://huggingface.co", field="HF_ENDPOINT")
    settings = replace(settings, host=host or settings.host, port=settings.port if port is None else port)
    process.private_folder(settings.home)
    process.private_folder(settings.run_dir)
    (settings.home / "logs").mkdir(exist_ok=True)
    lock = process.lock_file(settings.home / "inlet.lock", within=process.LOCK_WITHIN_S)
    if lock is None:
        holder = (settings.home / "inlet.lock").read_text().strip()
        raise Refused(
            f"Inlet already runs with this home ({settings.home}, process {holder}): use it, stop it, "
            "or set INLET_HOME to another folder"
        )
    try:
        asyncio.run(
            _Parent(settings, Console(highlight=False), with_sample=with_sample, new_key=new_key).run()
        )
    except Unavailable as error:
        raise Refused(str(error)) from error  # no server to be looked for: this would have been it
    finally:
        os.close(lock)


def _bind(host: str, port: int) -> socket.socket:
    deadline = time.monotonic() + BIND_WITHIN_S
    while True:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise Refused(_cannot_bind(host, port, error)) from error
        listener.listen(2048)
        return listener


def _cannot_bind(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{host!r} is no address of this machine ({error.strerror}): --host or INLET_HOST takes one that is, "
            "127.0.0.1 for callers here, 0.0.0.0 for all"
        )
    return (
        f"port {port} on {host} cannot be used ({error.strerror}): stop what uses it, or choose another "
        "with PORT=… (make up), --port or INLET_PORT"
    )


class _Parent:
    def __init__(self, settings: Settings, console: Console, *, with_sample: bool, new_key: bool) -> None:
        self._console, self._with_sample, self._new_key = console, with_sample, new_key
        self._command = command_for(Path(sys.argv[0]).absolute(), Path.cwd(), shutil.which("inlet"))
        self._listener = _bind(settings.host, settings.port)
        # Port 0 means any free one: from here on everybody knows which.
        self._settings = replace(settings, port=self._listener.getsockname()[1])
        env = {
            **os.environ,
            "INLET_HOME": str(settings.home),
            "INLET_HOST": settings.host,
            "INLET_PORT": str(self._settings.port),
            process.PARENT_VARIABLE: str(os.getpid()),
        }
        logs, fd = settings.home / "logs", self._listener.fileno()
        self._control = Child("control", "inlet.control", [], env=env, log=logs / "control.log", fds=())
        # It reads what strangers send, and needs none of these.
        public = {name: value for name, value in env.items() if name not in _NOT_FOR_THE_ROUTER}
        self._router = Child(
            "router", "inlet.router", ["--fd", str(fd)], env=public, log=logs / "router.log", fds=(fd,)
        )
        self._ending = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self._ending.set)
        fresh, own, lost = await self._bootstrap()
        self._greet(fresh, lost)
        try:
            async with asyncio.TaskGroup() as tasks:
                kept = [tasks.create_task(child.keep_running()) for child in (self._control, self._router)]
                told = tasks.create_task(self._tell(own, fresh))
                await self._ending.wait()
                told.cancel()
                await self._stop()
                for task in kept:
                    task.cancel()
        except ExceptionGroup as group:
            await self._stop()
            ours = group.subgroup(InletError)
            if ours is None:
                raise
            raise ours.exceptions[0] from None
        finally:
            self._listener.close()

    async def _bootstrap(self) -> tuple[str | None, str, Sequence[str]]:
        """The first admin token if there was none, the token of this machine's command line, and what a new key lost."""
        settings = self._settings
        preset_token(settings)
        store = SqlStore(database_url(settings))
        await store.open()
        try:
            if self._new_key and settings.database_url:
                with self._console.status("looking whether another control has the present key"):
                    await refuse_while_led(store, own_id(settings.home))
            vault = await Vault.load(settings.home, settings.secret_key, store, new_key=self._new_key)
            first = await ensure_namespace(store, settings, time.time())
            self._settings = replace(self._settings, namespace=first)
            fresh = await first_token(store, settings, time.time)
            own = await refresh_context(store, settings, time.time)
            return fresh, own, await vault.closed(store) if self._new_key else ()
        finally:
            await store.close()

    def _greet(self, fresh: str | None, lost: Sequence[str]) -> None:
        out = self._console
        out.print(f"[bold]Inlet {__version__}[/bold]  self-hosted inference endpoints")
        out.print(f"  URL    [cyan]{self._settings.url}[/cyan]")
        if fresh is not None:
            out.print(
                f"  Token  [yellow]{fresh}[/yellow]  admin; shown this once, so keep it", soft_wrap=True
            )
        elif self._settings.token:
            out.print("  Token  the one in INLET_TOKEN")
        else:
            out.print("  Token  as before (`inlet token create` makes another)")
        out.print(f"  State  {_short(self._settings.home)}")
        if lost:
            out.print(f"  Key    new: set these secrets again: {', '.join(lost)}", soft_wrap=True)

    async def _tell(self, own: str, fresh: str | None) -> None:
        started = time.monotonic()
        with self._console.status("starting control and router"):
            obstacle = await self._until_ready()
        if obstacle is not None:
            self._console.print(f"[yellow]standing by[/yellow]: {obstacle}", soft_wrap=True)
            return
        self._console.print(f"[green]✔[/green] ready after {time.monotonic() - started:.1f} s")
        if self._with_sample:
            try:
                await sample.show(self._settings, token=own, fresh=fresh, console=self._console)
            except InletError as error:  # everything else runs all the same
                self._console.print("[yellow]the sample endpoint does not answer[/yellow]")
                report(error)
        self._console.print(
            f"\nNext, in another terminal: [bold]{self._command} deploy MODEL[/bold]", soft_wrap=True
        )
        self._console.print("Ctrl-C stops everything; the next start finds it as it was.")

    async def _until_ready(self) -> str | None:
        """Once everything runs: what keeps it from serving all the same, if anything does."""
        deadline = time.monotonic() + START_WITHIN_S
        async with httpx.AsyncClient(base_url=self._settings.near_url) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get("/readyz", timeout=2.0)
                    if answer.status_code == 200:
                        return None
                    body = answer.json()
                    if all(body["checks"].values()):
                        return str(body["error"])
                if time.monotonic() > deadline:
                    logs = _short(self._settings.home / "logs")
                    raise Unavailable(f"not ready within {START_WITHIN_S:.0f} s; see {logs}/*.log")
                await asyncio.sleep(READY_RETRY_S)

    async def _stop(self) -> None:
        grace = self._settings.drain_seconds
        with self._console.status("stopping: finishing what is in flight"):
            await self._router.stop(within=grace + 5)
            asked = await self._ask_control_to_stop_replicas()
            await self._control.stop(within=grace + 10, ask=not asked)
        self._console.print("stopped")

    async def _ask_control_to_stop_replicas(self) -> bool:
        deadline = time.monotonic() + ASK_WITHIN_S
        transport = httpx.AsyncHTTPTransport(uds=str(self._settings.link_socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            while not self._control.hopeless and time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    await client.post(link.STOP_PATH)
                    return True
                await asyncio.sleep(READY_RETRY_S)  # it is just starting, or being restarted
        return False  # control is not there to be asked; its replicas stay for the next start


def command_for(program: Path, folder: Path, on_path: str | None) -> str:
    """What to type to get `program` again: its name if the shell finds it, else its path, from `folder` if it is below."""
    if on_path is not None and Path(on_path).absolute() == program:
        return program.name
    if program.name == "__main__.py":
        return "python -m inlet"
    return shlex.quote(str(program.relative_to(folder) if program.is_relative_to(folder) else program))


def _short(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if str(path).startswith(home) else str(path)
