"""A worker by itself: children that come and go, and the requests that wait for them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from inlet.backends.local.keeper import LINE_BYTES, Output
from inlet.core.errors import TimedOut, TooMany, Unavailable
from inlet.runtime.answers import Answer
from inlet.runtime.dialect import Dialect
from inlet.runtime.foreign.program import Program as Beside
from inlet.runtime.foreign.run import Run
from inlet.runtime.memory import killed_in
from inlet.runtime.metrics import Metrics
from inlet.runtime.serving import Asked
from inlet.runtime.worker.frames import MOST_BLOBS, Garbled, Message, pack, read
from inlet.runtime.worker.pieces import MOST_BYTES, MOST_PIECES, Pieces
from inlet.runtime.worker.process import _LONGEST_LINE, _how, _pass_on
from inlet.runtime.worker.program import CHILD, Program, Question, Watch
from inlet.runtime.worker.serving import ProgramError, Worker

pytestmark = pytest.mark.usefixtures("neighbours_spared")
WITHIN_S = 60.0
MANY = b"0," * MOST_BLOBS + b"0"  # sizes of blobs, each of which takes the parent a moment

PROGRAM = """
import os, time

def load(settings, report):
    report("loading")
    return answer

def pieces_that_end_as_a_reply():
    import sys
    yield {}, [b"x"]
    frame = b'{"kind": "reply", "blobs": []}'
    os.write(int(sys.argv[sys.argv.index("--fd") + 1]), len(frame).to_bytes(4, "big") + frame)
    yield {}, [b"y"]

def answer(head, blobs):
    word = blobs[0].decode()
    if word == "pid":
        return {}, [str(os.getpid()).encode()]
    if word == "exit":
        os._exit(1)
    if word == "flood":
        return (({}, [b"x" * 1_000_000]) for _ in range(100))
    if word.startswith("count "):
        with open(word.removeprefix("count "), "a") as file:
            file.write("x")
        os._exit(1)
    if word.startswith("keep "):
        open(word.removeprefix("keep "), "w").close()
        time.sleep(3600)
    if word == "large":
        return (({}, [b"x" * 20_000_000]) for _ in range(10))
    if word == "hang":
        time.sleep(3600)
    if word == "wrong":
        return {"kind": "what"}, "no bytes"
    if word == "both":
        return pieces_that_end_as_a_reply()
    return {}, [b"a", word.encode()]
"""

# Its line sees that a request comes, and ends without having read it.
READS_NOTHING = """
import os, select, sys

def receive(line):
    select.select([line._socket], [], [])
    with open({seen!r}, "a") as file:
        file.write("x")
    os._exit(3)

def load(settings, report):
    sys.modules["__main__"].Line.receive = receive
    return None
"""


@dataclass
class Plain:
    """Bodies as they are."""

    task: str = "test"

    def question(self, asked: Asked) -> Question:
        return Asking(Message({}, [asked.content]))

    def describe(self) -> Mapping[str, Any]:
        return {}


@dataclass
class Asking:
    """Replies as they are."""

    message: Message

    def answer(self, reply: Message) -> Answer:
        return Answer(200, b"".join(reply.blobs))

    def stream(self, first: Message, rest: AsyncGenerator[Message, None]) -> Answer:
        async def pieces() -> AsyncGenerator[bytes, None]:
            try:
                yield b"".join(first.blobs)
                async for piece in rest:
                    yield b"".join(piece.blobs)
            finally:
                await rest.aclose()

        return Answer(200, pieces())


@dataclass
class OneFile:
    """It must not be there."""

    path: Path

    def reason(self) -> str | None:
        return f"wrote {self.path.name}" if self.path.exists() else None

    def clear(self) -> None:
        self.path.unlink()


@asynccontextmanager
async def worker(
    folder: Path,
    program: str = PROGRAM,
    *,
    seconds: float = WITHIN_S,
    pauses: Sequence[float] = (0.0,),
    watch: Watch | None = None,
) -> AsyncIterator[Worker]:
    file = folder / "program.py"
    file.write_text(program)
    command, env = [sys.executable, "-P", str(CHILD)], dict(os.environ)
    made = Program("test", command, str(file), {}, env, folder, seconds, Plain(), watch=watch)
    serving = Worker(made, max_wait=WITHIN_S, metrics=Metrics(), pauses=pauses)
    await serving.start(lambda _: None)
    try:
        yield serving
    finally:
        serving.close()


async def ask(serving: Worker, word: str, patience: float | None = None) -> bytes:
    loop = asyncio.get_running_loop()
    asked = Asked("/", word.encode(), {}, "", Dialect.TOOLKIT, loop.time(), patience)
    async with asyncio.timeout(WITHIN_S):
        answer = await serving.answer(asked)
        if isinstance(answer.body, bytes):
            return answer.body
        return b"".join([piece async for piece in answer.body])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def test_requests_are_answered_in_order_by_one_child(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        words = [str(n) for n in range(20)]
        assert await asyncio.gather(*(ask(serving, word) for word in words)) == [
            f"a{word}".encode() for word in words
        ]


async def test_another_child_goes_on_with_what_waits(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        first = await ask(serving, "pid")
        outcomes = await asyncio.gather(
            ask(serving, "exit"), ask(serving, "pid"), ask(serving, "wrong"), return_exceptions=True
        )
        assert isinstance(outcomes[0], ProgramError)
        assert outcomes[0].status == 500
        assert isinstance(outcomes[1], bytes)
        assert outcomes[1] != first
        assert isinstance(outcomes[2], ProgramError)
        assert await ask(serving, "pid") == outcomes[1]


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_request_that_finds_a_dead_child_is_answered_by_the_next(
    tmp_path: Path, noticed: bool
) -> None:
    async with worker(tmp_path) as serving:
        first = int(await ask(serving, "pid"))
        psutil.Process(first).kill()
        if noticed:
            await until(lambda: not psutil.pid_exists(first))
        assert int(await ask(serving, "pid")) != first


async def test_a_request_that_a_child_dies_of_is_given_to_no_other(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        begun = tmp_path / "begun"
        with pytest.raises(ProgramError, match="while it worked on this request"):
            await ask(serving, f"count {begun}")
        assert await ask(serving, "b") == b"ab"
        assert begun.read_text() == "x"


async def test_a_request_that_no_child_reads_is_sent_twice_at_most(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        first = int(await ask(serving, "pid"))
        seen = tmp_path / "seen"
        (tmp_path / "program.py").write_text(READS_NOTHING.format(seen=str(seen)))
        psutil.Process(first).kill()
        with pytest.raises(ProgramError, match="ended with code 3, while it worked on this request"):
            await ask(serving, "a")
        assert 1 <= len(seen.read_text()) <= 2  # one less where the first one's end was not noticed in time


async def test_one_that_does_what_is_watched_is_ended_and_that_undone(tmp_path: Path) -> None:
    forbidden = tmp_path / "forbidden"
    async with worker(tmp_path, watch=OneFile(forbidden)) as serving:
        first = await ask(serving, "pid")
        with pytest.raises(ProgramError, match="the test wrote forbidden, while it worked on this request"):
            await ask(serving, f"keep {forbidden}")
        assert await ask(serving, "pid") != first
        assert not forbidden.exists()


async def test_a_slow_reader_and_one_that_leaves_do_not_lose_the_next_answer(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        loop = asyncio.get_running_loop()
        answer = await serving.answer(Asked("/", b"flood", {}, "", Dialect.TOOLKIT, loop.time(), None))
        assert not isinstance(answer.body, bytes)
        assert len(await anext(answer.body)) == 1_000_000
        await answer.body.aclose()
        assert await ask(serving, "b") == b"ab"
        assert len(await ask(serving, "flood")) == 100_000_000


async def test_what_waits_of_a_stream_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        loop = asyncio.get_running_loop()
        answer = await serving.answer(Asked("/", b"large", {}, "", Dialect.TOOLKIT, loop.time(), None))
        assert not isinstance(answer.body, bytes)
        errand = serving._errand
        assert errand is not None
        pieces = [len(await anext(answer.body))]
        while True:
            await until(lambda: errand.pieces.full or serving._errand is None)
            assert errand.pieces.size <= 20_000_000
            if serving._errand is None:
                break
            pieces.append(len(await anext(answer.body)))
        pieces += [len(piece) async for piece in answer.body]
        assert pieces == [20_000_000] * 10


async def test_small_pieces_wait_up_to_a_number() -> None:
    pieces = Pieces()
    for _ in range(MOST_PIECES):
        await pieces.room()
        pieces.put(Message({}, [b"x"]))
    waits = asyncio.create_task(pieces.room())
    await asyncio.sleep(0)
    assert not waits.done()
    await pieces.take()
    await waits
    pieces.put(Message({}, [b"x" * MOST_BYTES]))
    assert pieces.size == MOST_BYTES + MOST_PIECES - 1
    waits = asyncio.create_task(pieces.room())
    pieces.drop()
    await waits
    assert pieces.size == 0


async def test_who_reads_nothing_does_not_keep_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inlet.runtime.worker.serving._READS_WITHIN_S", 0.2)
    async with worker(tmp_path) as serving:
        loop = asyncio.get_running_loop()
        answer = await serving.answer(Asked("/", b"flood", {}, "", Dialect.TOOLKIT, loop.time(), None))
        assert not isinstance(answer.body, bytes)
        assert len(await anext(answer.body)) == 1_000_000
        assert await ask(serving, "b", WITHIN_S) == b"ab"
        with pytest.raises(TimedOut, match="nothing of the answer was read"):
            await anext(answer.body)


async def test_a_caller_that_leaves_while_it_waits_costs_nothing(tmp_path: Path) -> None:
    async with worker(tmp_path, seconds=1) as serving:
        hangs = asyncio.create_task(ask(serving, "hang"))
        waits = asyncio.create_task(ask(serving, "exit"))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(TimedOut):
            await hangs
        first = await ask(serving, "pid", WITHIN_S)
        assert await ask(serving, "pid", WITHIN_S) == first


async def test_nothing_stays_of_those_that_leave_before_their_turn(tmp_path: Path) -> None:
    async with worker(tmp_path, seconds=1) as serving:
        hangs = asyncio.create_task(ask(serving, "hang"))
        leave = [asyncio.create_task(ask(serving, "x" * 1_000)) for _ in range(50)]
        stays = asyncio.create_task(ask(serving, "y", WITHIN_S))
        expires = asyncio.create_task(ask(serving, "z", 0.01))
        with pytest.raises(TooMany):
            await expires
        for each in leave:
            each.cancel()
        await asyncio.wait(leave)
        assert [errand.message.blobs for errand in serving._waiting] == [[b"y"]]
        with pytest.raises(TimedOut):
            await hangs
        assert await stays == b"ay"
        serving.admit(asyncio.get_running_loop().time(), 0)  # nothing is in front of another one


async def test_a_stream_that_ends_as_no_stream_does_is_ended(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        with pytest.raises(ProgramError, match="sent what is no answer, and was ended"):
            await ask(serving, "both")
        assert await ask(serving, "b") == b"ab"


async def test_an_end_leaves_other_processes_of_the_replica_alone(tmp_path: Path) -> None:
    """Those that it started with a session of their own are no children that a child left behind."""
    async with worker(tmp_path) as serving:
        before = set(psutil.Process().children())
        run = await Run.start(Beside(("sleep", "3600")), tmp_path)
        (beside,) = set(psutil.Process().children()) - before
        with pytest.raises(ProgramError):
            await ask(serving, "exit")
        assert await ask(serving, "b") == b"ab"
        assert beside.status() != psutil.STATUS_ZOMBIE
        run.kill()
        assert "signal 9" in str(await run.last_words())


async def test_what_waits_while_there_is_no_child_is_told_so(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        (tmp_path / "program.py").write_text("import time\ntime.sleep(3600)\n")
        with pytest.raises(ProgramError):
            await ask(serving, "exit")
        with pytest.raises(Unavailable, match="the test ended with code 1; it is started again"):
            await ask(serving, "a", 0.1)


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("raise OSError('no disk')", "the test did not start: no disk"),
        ("import os; os._exit(3)", "ended with code 3"),
    ],
)
async def test_one_that_cannot_start_any_more_is_given_up(tmp_path: Path, then: str, reason: str) -> None:
    async with worker(tmp_path) as serving:
        (tmp_path / "program.py").write_text(then)
        waits = asyncio.gather(ask(serving, "exit"), ask(serving, "a"), return_exceptions=True)
        async with asyncio.timeout(WITHIN_S):
            assert reason in await serving.given_up()
        outcomes = await waits
        assert isinstance(outcomes[1], Unavailable)
        with pytest.raises(Unavailable, match=reason):
            await ask(serving, "a")


def test_no_line_of_a_child_is_without_its_mark(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    forged = b"INFO x fake"
    output, its_output = os.pipe()
    os.write(its_output, b"q" * 8182 + forged + b"\nsay\r" + forged + b"\r\n" + b"z" * 9000 + b"\r" + forged)
    os.close(its_output)
    _pass_on(output, "handler")
    log = Output(str(tmp_path / "log"), 1_000_000)
    log.feed("stderr", capfdbinary.readouterr().err)
    assert LINE_BYTES == _LONGEST_LINE
    lines = [line.split(b" ", 2)[2] for line in (tmp_path / "log").read_bytes().splitlines()]
    assert len(lines) == 5
    assert all(line.startswith(b"handler | ") for line in lines)


@pytest.mark.parametrize(
    ("code", "starved", "words"),
    [
        (-9, True, "was killed, most likely for want of memory: choose a larger instance"),
        (-9, False, "was killed (signal 9)"),
        (137, False, "was killed (signal 9)"),
        (-11, True, "was ended by SIGSEGV"),
        (3, True, "ended with code 3"),
    ],
)
def test_an_end_is_blamed_on_the_memory_only_where_it_was_full(code: int, starved: bool, words: str) -> None:
    assert _how(code, starved=starved) == words


def test_what_a_control_group_counts_is_read(tmp_path: Path) -> None:
    assert killed_in(tmp_path) is None
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert killed_in(tmp_path) == 2
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\noom_group_kill 1\n")
    assert killed_in(tmp_path) == 3


async def test_a_worker_that_is_closed_leaves_no_process(tmp_path: Path) -> None:
    async with worker(tmp_path) as serving:
        child = int(await ask(serving, "pid"))
    await until(lambda: not psutil.pid_exists(child))


@pytest.mark.parametrize(
    "frame",
    [b"\xff\xff\xff\xff", b"\0\0\0\x01{", b"\0\0\0\x02{}", b'\0\0\0\x0e{"blobs":[-1]}', b'\0\0\0\x13{"blobs":[99999999999]}'[:23],
     (len(MANY) + 12).to_bytes(4, "big") + b'{"blobs":[' + MANY + b"]}"],
)  # fmt: skip
async def test_what_is_no_frame_is_told(frame: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frame)
    reader.feed_eof()
    with pytest.raises((Garbled, EOFError)):
        await read(reader)


async def test_a_frame_comes_as_it_went() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(pack(Message({"a": None}, [b"", b"xy"]))))
    assert await read(reader) == Message({"a": None}, [b"", b"xy"])
