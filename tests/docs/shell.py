"""A shell that runs the snippets of a page, and the comparison of what it wrote with what the page shows."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

MARK = "--- end of snippet ---"
WITHIN_S = 300.0


class Shell:
    """One bash: variables, functions and the current folder last from command to command."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, command: str) -> tuple[str, int]:
        """What it wrote to both outputs, and its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        script = f"{{\n{command}\n}} </dev/null\nprintf '\\n%s %d\\n' '{MARK}' $?\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        written, deadline = b"", time.monotonic() + WITHIN_S
        while not (found := re.search(rf"\n{MARK} (\d+)\n".encode(), written)):
            left = deadline - time.monotonic()
            assert left > 0, f"{command}\ndid not end within {WITHIN_S} s:\n{written.decode()}"
            if select.select([self._process.stdout], [], [], left)[0]:
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, f"the shell ended in {command}:\n{written.decode()}"
                written += data
        return written[: found.start()].decode(), int(found[1])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def commands(console: str) -> list[tuple[str, str]]:
    """Of a `console` block: each command (lines after a backslash belong to it) and the output that follows."""
    found: list[tuple[list[str], list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif found[-1][0][-1].endswith("\\") and not found[-1][1]:
            found[-1][0].append(line)
        else:
            found[-1][1].append(line)
    return [("\n".join(command), "\n".join(output)) for command, output in found]


def normal(text: str) -> list[str]:
    """Lines without what differs from run to run: figures, times, ids, tokens, the width of columns."""
    text = re.sub(r"\binl_[\w-]{20,}", "TOKEN", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    text = re.sub(r"\b\d+\.\d+(e-\d+)?\b", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def shows(expected: str, actual: str) -> bool:
    """Whether a page's `expected` describes `actual`. `…` stands for anything in a line, alone for any lines."""
    pattern = ""
    for line in normal(expected):
        pattern += "(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in normal(actual))) is not None
