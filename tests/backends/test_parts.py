"""The small parts: why a replica ended, what an answer to a probe means."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.backends.local.exits import describe
from inlet.backends.local.probe import SILENT, Health, probe
from inlet.backends.local.records import Ending, ReplicaRecord
from inlet.core.seen import Exit, ExitKind

RECORD = ReplicaRecord("r", 1.0, "/s", 1.0, 2 * 2**30, enforced=True)
ENDED = Ending(2.0, 1, None, False, False, False, "", ("Traceback", "ValueError: no"))


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (ENDED, Exit(ExitKind.CRASHED, "Ended with code 1: Traceback\nValueError: no", 1)),
        (replace(ENDED, termination="No disk"), Exit(ExitKind.CRASHED, "No disk", 1)),
        (replace(ENDED, code=0, last_lines=()), Exit(ExitKind.CRASHED, "Ended with code 0", 0)),
        (replace(ENDED, code=78, termination="Gated"), Exit(ExitKind.CONFIGURATION, "Gated", 78)),
        (replace(ENDED, code=None, signal=11, last_lines=()), Exit(ExitKind.CRASHED, "Killed by SIGSEGV")),
        (replace(ENDED, code=None, signal=9, asked=True), Exit(ExitKind.STOPPED, "Stopped")),
        (
            replace(ENDED, code=None, signal=9, asked=True, overrun=True),
            Exit(ExitKind.STOPPED, "Killed when its drain took too long"),
        ),
        (
            replace(ENDED, code=None, signal=9, out_of_memory=True),
            Exit(
                ExitKind.OUT_OF_MEMORY, "Out of memory: more than the limit of 2 GB; choose a larger instance"
            ),
        ),
        (None, Exit(ExitKind.CRASHED, "The process that keeps the replica was killed")),
    ],
)
def test_an_end_is_told_in_words(ending: Ending | None, expected: Exit) -> None:
    assert describe(RECORD, ending) == expected


def test_a_failed_allocation_is_out_of_memory_only_where_nothing_enforces_the_limit() -> None:
    ending = replace(ENDED, last_lines=("MemoryError",))
    assert describe(RECORD, ending).kind is ExitKind.CRASHED
    assert describe(replace(RECORD, enforced=False), ending).kind is ExitKind.OUT_OF_MEMORY


def test_of_a_long_story_the_end_is_told() -> None:
    message = describe(RECORD, replace(ENDED, last_lines=("x" * 9000, "the error"))).message
    assert message.endswith("the error")
    assert len(message) < 2100


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answered(tmp_path: Path, answer: Answer, *, within: float = 60.0) -> Health:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(reader, writer)
        writer.close()

    path = str(tmp_path / "s")
    async with await asyncio.start_unix_server(serve, path):
        return await probe(path, within)


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nOk", Health(200)),
        (b'HTTP/1.1 503 X\r\n\r\n{"error": "e", "state": "downloading"}', Health(503, "downloading", "e")),
        (b"HTTP/1.1 503 X\r\n\r\nnot json", Health(503)),
        (b"HTTP/1.1 503 X\r\n\r\n[1]", Health(503)),
        (b"HTTP/1.1 503 X\r\n\r\n" + b"[" * 16_000, Health(503)),
        (b"HTTP/1.1 " + b"5" * 5000 + b" X\r\n\r\n", SILENT),
        (b"SSH-2.0-OpenSSH_9\r\n", SILENT),
        (b"HTTP/1.1 abc\r\n\r\n", SILENT),
        (b"", SILENT),
    ],
)
async def test_answers_to_a_probe(tmp_path: Path, answer: bytes, health: Health) -> None:
    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    assert await answered(tmp_path, send) == health


async def test_a_probe_is_bounded_in_time_and_size(tmp_path: Path) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200")
        await reader.read()  # until the probe has gone

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            return

    async with asyncio.timeout(60):
        assert await answered(tmp_path, stall, within=0.3) == SILENT
        assert await answered(tmp_path, flood, within=0.3) == SILENT
    assert await probe(str(tmp_path / "nobody"), 0.3) == Health(0, listening=False)
