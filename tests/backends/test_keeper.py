"""The keeper alone: a stop that comes while the replica is just being born."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from inlet.backends.local import keeper


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


def test_a_stop_between_fork_and_exec_is_not_lost(tmp_path: Path) -> None:
    gate = tmp_path / "gate"  # the child enters its "group" here, and waits for somebody to read
    os.mkfifo(gate)
    (tmp_path / "work").mkdir()
    (tmp_path / "stop").write_text("30")
    plan = keeper.Plan(
        replica_id="r", folder=str(tmp_path), command=["/bin/sleep", "60"], env={}, notify=str(tmp_path / "n"),
        log=str(tmp_path / "log"), log_bytes=1000, grace=30.0, enter=[str(gate)], events=None, data_limit=None,
        watched_memory=None, cpus=[],
    )  # fmt: skip
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
                process.wait(timeout=10)
        finally:
            process.kill()
    ending = json.loads((tmp_path / "exit.json").read_text())
    assert (ending["asked"], ending["signal"], ending["overrun"]) == (True, signal.SIGTERM, False)


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
