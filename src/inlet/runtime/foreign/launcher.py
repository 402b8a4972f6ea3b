"""Becomes a command that dies with the process that started it: `python -m inlet.runtime.foreign.launcher COMMAND…`.

Started by `run`. A program of its own, because between the fork and the exec of a process with threads no Python may run.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from inlet.process import PARENT_VARIABLE, die_with_parent

NOT_FOUND = 127
"""Exit status when there is no such program, as shells have it."""

NOT_STARTED = 126
"""Exit status when the program is there and cannot be run."""


def main(command: Sequence[str]) -> NoReturn:
    """Run the command in place of this process."""
    die_with_parent(signal.SIGKILL)
    os.environ.pop(PARENT_VARIABLE, None)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
