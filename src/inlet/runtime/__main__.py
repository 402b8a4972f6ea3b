"""`python -m inlet.runtime`: serve one model. See `options` for the flags and `serve` for what happens."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import uvloop

from inlet.core.errors import Refused
from inlet.process import EX_CONFIG
from inlet.runtime.notify import write_termination_log
from inlet.runtime.options import parse
from inlet.runtime.serve import serve


def main(arguments: Sequence[str]) -> NoReturn:
    """Run one replica with these flags, and end this process with its exit code."""
    code = _run(arguments)
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: a start that was given up may still compile a model in its thread, and tearing down the
    # interpreter around native code at work ends in a crash instead of this code.
    os._exit(code)


def _run(arguments: Sequence[str]) -> int:
    # Lines that people read in a web page. Plain logging, not the other processes' structured kind: importing that
    # costs a tenth of a second of every cold start.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    for noisy in ("httpx", "httpx2", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    options = parse(arguments, os.environ)
    try:
        # Not uvloop.run, which would wait for threads, and needs one more: there may be no memory for it.
        return uvloop.new_event_loop().run_until_complete(serve(options))
    except Refused as error:
        logging.getLogger("inlet.runtime").error("%s", error)  # noqa: TRY400 - a reason, not a stack
        write_termination_log(options.termination_log, str(error))
        return EX_CONFIG


if __name__ == "__main__":
    main(sys.argv[1:])
