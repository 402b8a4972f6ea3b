"""The router as a process of its own: an inherited socket, SIGTERM, the death of its parent, bad settings."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from inlet.core.access import Grant, Permission
from inlet.settings import Settings
from tests.router.world import SECRET, WITHIN, Asked, Link, Raw, Server, Visit, request, route, token, until
from tests.system import has_ended

START = [sys.executable, "-m", "inlet.router"]


@asynccontextmanager
async def surroundings() -> AsyncIterator[tuple[Settings, socket.socket, Link, Server]]:
    with tempfile.TemporaryDirectory(prefix="inlet") as name:
        settings = Settings(home=Path(name))
        settings.run_dir.mkdir(mode=0o700)
        listening = socket.create_server(("127.0.0.1", 0))
        link, replica = Link(settings.link_socket), Server(Path(name) / "a")
        async with link, replica:
            link.publish((route(replica.upstream()),), (token(SECRET, Grant(Permission.INFER)),))
            yield settings, listening, link, replica
        listening.close()


async def start(settings: Settings, listening: socket.socket, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *START, "--fd", str(listening.fileno()), pass_fds=[listening.fileno()], stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "INLET_HOME": str(settings.home), **env},
    )  # fmt: skip


async def test_sigterm_finishes_what_is_in_flight_and_the_next_process_takes_over():
    release = asyncio.Event()

    async def behave(asked: Asked, visit: Visit) -> None:
        body = await visit.body()
        if body == b"slow":
            await release.wait()
        await visit.answer(body)

    async with surroundings() as (settings, listening, _, replica):
        replica.behave = behave
        port = listening.getsockname()[1]
        process = await start(settings, listening, INLET_DRAIN_SECONDS="100")
        async with Raw(port) as idle, Raw(port) as busy:
            await idle.send(request(body=b"first"))
            assert (await idle.answer("POST")).body == b"first"
            await busy.send(request(body=b"slow"))
            await until(lambda: len(replica.asked) == 2)
            process.send_signal(signal.SIGTERM)
            assert await idle.closed() == b""
            async with Raw(port) as later:  # the parent's socket still takes it, and its successor answers
                await later.send(request(body=b"later"))
                successor = await start(settings, listening)
                assert (await later.answer("POST")).body == b"later"
                release.set()
                answer = await busy.answer("POST")
                assert (answer.body, answer.values("connection")) == (b"slow", ["close"])
                assert await asyncio.wait_for(process.wait(), WITHIN) == 0
                successor.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(successor.wait(), WITHIN) == 0


async def test_what_does_not_finish_within_the_drain_is_cut_off():
    async def behave(asked: Asked, visit: Visit) -> None:
        await visit.body()
        await visit.until_gone()

    async with surroundings() as (settings, listening, _, replica):
        replica.behave = behave
        process = await start(settings, listening, INLET_DRAIN_SECONDS="0.2")
        async with Raw(listening.getsockname()[1]) as client:
            await client.send(request(body=b"x"))
            await until(lambda: replica.asked)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WITHIN) == 0


async def test_it_dies_with_its_parent():
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inlet.router', '--fd', sys.argv[1]], pass_fds=[int(sys.argv[1])])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    async with surroundings() as (settings, listening, _, _):
        fd = listening.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", parent, str(fd), pass_fds=[fd], stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "INLET_HOME": str(settings.home)},
        )  # fmt: skip
        assert process.stdout is not None
        router = psutil.Process(int(await process.stdout.readline()))
        async with Raw(listening.getsockname()[1]) as client:
            await client.send(request(body=b"x"))
            assert (await client.answer("POST")).status == 200
        process.kill()
        await process.wait()
        await until(lambda: has_ended(router))


async def test_a_setting_that_cannot_be_read_ends_it_with_the_reason():
    async with surroundings() as (settings, listening, _, _):
        process = await start(settings, listening, INLET_MAX_PENDING="many")
        _, errors = await asyncio.wait_for(process.communicate(), WITHIN)
        assert process.returncode == os.EX_CONFIG
        assert b"INLET_MAX_PENDING" in errors
        assert b"Traceback" not in errors
