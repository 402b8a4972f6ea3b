"""`python -m inlet.runtime.artifact`: make one artifact and end. Started by `worker`, which reads its standard output:
one JSON object per line, `{"progress": …}`, `{"began": key}` when from now on it counts as failed until it has ended, and at
last `{"artifact": digest}` or `{"refused": reason}`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from pathlib import Path

from inlet.core.errors import InletError
from inlet.process import EX_CONFIG, die_with_parent

_NICENESS = 10  # of a build beside a replica that answers requests


def main() -> int:
    """One build; its exit code."""
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and who takes the build back
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m inlet.runtime.artifact", description="Make one artifact."
    )
    for name in ("--folder", "--location", "--task", "--precision", "--store"):
        parser.add_argument(name, required=True)
    for name in ("--commit", "--samples"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--background", action="store_true", help="give way to a replica beside it")
    given = parser.parse_args()
    if given.background:
        os.nice(_NICENESS)
    from inlet.runtime.artifact.make import make
    from inlet.runtime.artifact.worker import Job

    job = Job(
        folder=Path(given.folder),
        location=given.location,
        commit=given.commit,
        task=given.task,
        precision=given.precision,
        threads=given.threads,
        store=Path(given.store),
        samples=None if given.samples is None else Path(given.samples),
    )
    try:
        artifact = make(job, lambda text: _say("progress", text), lambda key: _say("began", key))
    except InletError as error:
        _say("refused", str(error))
        return EX_CONFIG
    _say("artifact", artifact.manifest.digest)
    return 0


def _say(kind: str, value: str) -> None:
    print(json.dumps({kind: value}), flush=True)  # noqa: T201 - this is the process's interface


if __name__ == "__main__":
    sys.exit(main())
