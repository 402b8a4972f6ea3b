"""Log lines for which there is no room: lost, counted, and nobody's end."""

import json
import os
from pathlib import Path

from inlet.telemetry import LossyStream


def test_lines_without_room_are_lost_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stream = LossyStream(descriptor)
    stream.write("one\n")
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(descriptor)
    os.dup2(full, descriptor)
    for _ in range(3):
        stream.write("lost\n")
        stream.flush()
    os.dup2(kept, descriptor)
    stream.write("two\n")
    stream.write("three\n")
    first, told, *rest = file.read_text().splitlines()
    assert (first, rest) == ("one", ["two", "three"])
    assert json.loads(told) == {"event": "log_lines_lost", "lines": 3, "level": "warning"}
    for each in (descriptor, full, kept):
        os.close(each)
