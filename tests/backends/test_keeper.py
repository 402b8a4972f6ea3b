"""The keeper alone: a stop while the replica is just being born, a spare that has ended before its plan came, a keeper that
nobody can watch, an alarm that it notices late, its last words.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from inlet.backends.local import keeper
from inlet.backends.local.spawn import spawn
from tests.backends.worlds import WITHIN_S, eventually


def test_a_stop_between_fork_and_exec_is_not_lost(tmp_path: Path) -> None:
    gate = tmp_path / "gate"  # the child enters its "group" here, and waits for somebody to read
    os.mkfifo(gate)
    (tmp_path / "work").mkdir()
    (tmp_path / "stop").write_text("30")
    plan = a_plan(tmp_path, enter=[str(gate)])
    command = [sys.executable, "-I", "-S", keeper.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(vars(plan)))
            process.stdin.close()
            eventually(lambda: bool(keeper.descendants(process.pid, keeper.processes())))
            (child,) = keeper.descendants(process.pid, keeper.processes())

            eventually(lambda: _sleeping(child))
            process.send_signal(signal.SIGTERM)
            eventually(lambda: _has_pending(child, signal.SIGTERM))
            with gate.open("rb"):
                process.wait(timeout=WITHIN_S)
        finally:
            process.kill()
    ending = json.loads((tmp_path / "exit.json").read_text())
    assert (ending["asked"], ending["signal"], ending["overrun"]) == (True, signal.SIGTERM, False)


def test_a_spare_that_ends_before_its_plan_comes_has_not_started() -> None:
    ours, theirs = socket.socketpair()
    command = keeper.keeper_command(keeper.SPARE, "/bin/sh", "-c", "read ends_here")
    with ours, theirs, subprocess.Popen(command, stdin=theirs, env={keeper.ID_VARIABLE: " "}) as process:
        eventually(lambda: bool(keeper.descendants(process.pid, keeper.processes())))
        (child,) = keeper.descendants(process.pid, keeper.processes())
        os.kill(child, signal.SIGKILL)
        assert process.wait(timeout=WITHIN_S) == keeper.NOT_STARTED


def test_a_keeper_that_nobody_can_watch_does_not_run() -> None:
    before = psutil.Process().children()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = os.dup(0)
    os.close(unused)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            spawn([keeper.SPARE, "/bin/sleep", "60"], {}, stdin=0, errors=os.devnull)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert psutil.Process().children() == before


ALARMED_LONG_AGO = """
import json, subprocess, sys
from inlet.backends.local.keeper import Keeper, Plan
keeper = Keeper(Plan(**json.load(sys.stdin)))
rest = subprocess.Popen(["/bin/sleep", "600"])
keeper._alarmed_until = 1.0
keeper._check_alarm()
print(rest.wait())
"""


def test_an_alarm_counts_however_late_it_is_looked_after(tmp_path: Path) -> None:
    counter = tmp_path / "memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    told = json.dumps(vars(a_plan(tmp_path, events=str(counter))))
    command = [sys.executable, "-c", ALARMED_LONG_AGO]
    done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=WITHIN_S, check=True)
    assert done.stdout.split() == ["-9"]


LATE_FOR_LAST_WORDS = """
import json, os, select, sys
from inlet.backends.local import keeper
found = keeper.Keeper(keeper.Plan(**json.load(sys.stdin)))
reading, writing = os.pipe()
os.write(writing, b"last words\\n")
found._pipes[reading] = "stderr"
found._poll.register(reading, select.POLLIN)
found._status = 256
now = iter(range(0, 10**6, 60))
keeper.time.monotonic = lambda: next(now)
found.run()
"""


def test_last_words_are_read_however_late_it_is(tmp_path: Path) -> None:
    told = json.dumps(vars(a_plan(tmp_path)))
    subprocess.run(
        [sys.executable, "-c", LATE_FOR_LAST_WORDS], input=told, text=True, timeout=WITHIN_S, check=True
    )
    assert json.loads((tmp_path / "exit.json").read_text())["last_lines"] == ["last words"]


def a_plan(folder: Path, *, enter: Sequence[str] = (), events: str | None = None) -> keeper.Plan:
    return keeper.Plan(
        replica_id="r", folder=str(folder), command=["/bin/sleep", "60"], env={}, notify=str(folder / "n"),
        log=str(folder / "log"), log_bytes=1000, grace=30.0, spare_answers=0.0, enter=list(enter), events=events,
        data_limit=None, watched_memory=None, cpus=[],
    )  # fmt: skip


def _sleeping(pid: int) -> bool:
    found = keeper.process(pid)
    return found is not None and found.state == "S"


def _has_pending(pid: int, number: int) -> bool:
    """Whether the signal waits for the process."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return bool(pending >> (number - 1) & 1)


def test_the_room_that_is_kept_holds_the_longest_words(tmp_path: Path) -> None:
    path = str(tmp_path / "exit.json")
    document = {"termination": "\0" * keeper.TERMINATION_BYTES, "last_lines": ["😀" * 500] * 5}
    keeper.reserve(path)
    keeper.write_reserved(path, document)
    assert json.loads((tmp_path / "exit.json").read_bytes()) == document
