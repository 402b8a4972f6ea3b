"""The command line of a replica, as one value. Read once by `__main__`; everything below gets values."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inlet.core.computing import PRECISION, SAMPLE_TRAFFIC, Precision
from inlet.core.handlers import HandlerOptions, handler_options
from inlet.core.models import MODELS, Listed, models_of, name_of, own_first
from inlet.core.trust import LENT_TOKEN, Trust, trust_of
from inlet.runtime.dialect import Dialect, default_dialect

# How this very process is run, which is no business of other code.
_OURS = re.compile(r"INLET_\w+|NOTIFY_SOCKET|PYTHON\w*|VIRTUAL_ENV|(OLD)?PWD|\w+_proxy", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """`location` is an absolute folder or a Hub repository; `threads` how many the engine may use; `memory` in bytes.

    `precision` and `sample_traffic` are as a person wrote them, not checked yet. `child_env`: what code of the model's own
    repository may know of this process's environment, which is the endpoint's own variables. `models`: all that are served,
    this one first; empty where it is the only one. `command`: words
    of a program that serves in place of what we have, with its health route and the port that it insists on.
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
    handler: HandlerOptions
    child_env: Mapping[str, str]
    models: tuple[Listed, ...]
    command: tuple[str, ...] = ()
    health_route: str = "/health"
    program_port: int | None = None


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
    parser.add_argument(
        "--health-route", default="/health", help="path of the command that answers 2xx when ready"
    )
    parser.add_argument(
        "--program-port", type=int, help="port that the command insists on; default any free one"
    )
    parser.add_argument("command", nargs="*", help="after --: a program that serves the model")
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
        token=environ.get(LENT_TOKEN) or environ.get("HF_TOKEN") or None,
        dialect=default_dialect(environ),
        trust=trust_of(environ),
        handler=handler_options(environ),
        child_env={name: value for name, value in environ.items() if not _OURS.fullmatch(name)},
        models=_models(given, environ),
        command=tuple(given.command),
        health_route=given.health_route,
        program_port=given.program_port,
    )


def _models(given: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Listed, ...]:
    listed = models_of(environ.get(MODELS) or "")
    own = Listed(name_of(given.model), given.model, given.commit, given.task or None)
    return own_first(own, listed) if listed else ()
