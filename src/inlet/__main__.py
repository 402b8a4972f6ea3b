"""The command `inlet`, and `python -m inlet`."""

from __future__ import annotations

import os
import sys

from inlet.cli.app import app
from inlet.cli.output import say


def main() -> None:
    """Run a command and exit: 0 done, 1 it failed, 2 it was called wrongly, 130 Ctrl-C."""
    try:
        app()
    except Exception as error:  # the last line: a mistake of ours must not meet a person as a stack trace
        if os.environ.get("INLET_LOG_LEVEL", "").lower() == "debug":
            raise
        say(f"Error: a mistake in Inlet itself ({type(error).__name__}: {error})", "red")
        say("Please report it, with what INLET_LOG_LEVEL=debug shows.", "dim")
        sys.exit(1)


if __name__ == "__main__":
    main()
