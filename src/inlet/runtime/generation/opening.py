"""From a folder with a GGUF file to llama.cpp serving it. Called by `loader` (in a thread) and `starting`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inlet.core.errors import Refused
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.upstream import Upstream
from inlet.runtime.generation import files
from inlet.runtime.generation.header import Header, read_header
from inlet.runtime.generation.plan import Plan, make_plan
from inlet.runtime.generation.serving import Generation
from inlet.runtime.generation.settings import POOLING, Mode, Settings
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.tasks import canonical

_MOST_IN_HAND = 128  # generated or waiting, as text-generation-inference has it
_MIB = 2**20
_THREADS_BESIDE = 4  # that answer questions which need no turn


@dataclass(frozen=True, slots=True)
class Llama:
    """A model and the process that will serve it."""

    name: str
    task: str
    header: Header
    settings: Settings
    plan: Plan
    program: Program


def open_gguf(parts: Sequence[Path], options: Options, settings: Settings) -> Llama:
    """Plan the context of a file, or of all parts of one. `Refused` when it does not fit, or llama.cpp is not installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise Refused(
            "a .gguf model needs llama.cpp: pip install 'inlet-endpoints[llamacpp]' where the server runs",
            field="model",
        )
    header = read_header(parts[0])
    _check_mode(settings, header, parts)
    plan = make_plan(header, sum(part.stat().st_size for part in parts), settings, files.memory_of(options))
    name = (
        options.location.rstrip("/").rsplit("/", 2)[-1]
        if options.location.startswith("/")
        else options.location
    )
    words = (
        sys.executable, "-P", "-m", "inlet.runtime.generation.llama",
        "--model", str(parts[0]),
        "--alias", name,
        "--socket", "{socket}",
        "--threads", str(options.threads),
        "--threads-http", str(settings.threads_http or plan.parallel + _THREADS_BESIDE),
        "--context", str(plan.context * plan.parallel),
        "--parallel", str(plan.parallel),
        "--prompts", str(plan.prompts // _MIB),
        "--mode", settings.mode,
        *(() if settings.pooling is None else ("--pooling", settings.pooling)),
    )  # fmt: skip
    return Llama(name, canonical(options.task), header, settings, plan, Program(words, title="llama.cpp"))


def _check_mode(settings: Settings, header: Header, parts: Sequence[Path]) -> None:
    """llama.cpp would answer all the same, and with numbers that mean nothing."""
    if settings.mode is Mode.EMBEDDINGS and settings.pooling is None and not header.pools:
        raise Refused(
            "the file does not say how to make one embedding of a text: send mean, cls or last", field=POOLING
        )
    if settings.mode is Mode.RERANKING and not any(read_header(part).ranks for part in parts):
        raise Refused("the model has no head that ranks: choose a reranker", field="model")


async def serve_llama(llama: Llama, metrics: Metrics, tell: Callable[[str], None]) -> Generation:
    """Start it and wait until it answers; fails as `Supervisor.start` does."""
    upstream = Upstream(llama.program, at_once=llama.plan.parallel, in_hand=_MOST_IN_HAND, metrics=metrics)
    await upstream.start(tell)
    return Generation(
        upstream,
        task=llama.task,
        model=llama.name,
        architecture=llama.header.architecture,
        template=llama.header.template,
        context=llama.plan.context,
        at_once=llama.plan.parallel,
        mode=llama.settings.mode,
    )
