"""The command line of a replica, as one value. Read once by `__main__`; everything below gets values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inlet.core.computing import PRECISION, SAMPLE_TRAFFIC, Precision
from inlet.core.trust import Trust, trust_of
from inlet.runtime.dialect import Dialect, default_dialect


@dataclass(frozen=True, slots=True)
class Options:
    """`location` is an absolute folder or a Hub repository; `threads` how many the engine may use; `memory` in bytes.

    `precision` and `sample_traffic` are as a person wrote them, not checked yet.
    """

    location: str
    commit: str | None
    task: str
    socket: Path | None
    host: str
    port: int
    threads: int
    cache: Path | None
    artifacts: Path | None
    precision: str
    memory: int | None
    sample_traffic: str
    termination_log: Path | None
    token: str | None
    dialect: Dialect
    trust: Trust


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the flags; leaves with a usage message when they cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m inlet.runtime", description="Serve one model.")
    parser.add_argument("--model", required=True, help="absolute folder, or repository on the Hub")
    parser.add_argument("--commit", help="full commit hash of a repository on the Hub")
    parser.add_argument("--task", default="", help="what the model is asked to do")
    parser.add_argument("--socket", type=Path, help="Unix socket to listen on")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="port to listen on; 0 for any")
    parser.add_argument(
        "--vcpus", type=float, help="processors to use; default all that this process may use"
    )
    parser.add_argument("--cache", type=Path, help="folder of downloads; default that of huggingface_hub")
    parser.add_argument("--artifacts", type=Path, help="folder of artifacts; without one, `auto` means fp32")
    parser.add_argument(
        "--memory", type=int, help="bytes that this replica may use; default all that are free"
    )
    parser.add_argument("--termination-log", type=Path, help="file that gets the reason when a start fails")
    given = parser.parse_args(arguments)
    if (given.socket is None) == (given.port is None):
        parser.error("give either --socket or --port")
    if given.vcpus is not None and not given.vcpus > 0:
        parser.error("--vcpus must be more than 0")
    allowed = len(os.sched_getaffinity(0))
    return Options(
        location=given.model,
        commit=given.commit,
        task=given.task,
        socket=given.socket,
        host=given.host,
        port=given.port or 0,
        threads=allowed if given.vcpus is None else max(1, min(int(given.vcpus), allowed)),
        cache=given.cache,
        artifacts=given.artifacts,
        precision=environ.get(PRECISION) or Precision.AUTO,
        memory=given.memory,
        sample_traffic=environ.get(SAMPLE_TRAFFIC) or "0",
        termination_log=given.termination_log,
        token=environ.get("HF_TOKEN") or None,
        dialect=default_dialect(environ),
        trust=trust_of(environ),
    )
