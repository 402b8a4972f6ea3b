"""From options to something that answers: files, graph, engine, task. Runs in a thread while `/health` answers 503."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from inlet.runtime.model import Model, open_model
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase
from inlet.runtime.sources import fetch
from inlet.runtime.tasks import TaskKind, canonical, task_kind
from inlet.runtime.tasks.base import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and the task on it."""

    model: Model
    task: Task
    kind: TaskKind


def load(options: Options, report: Callable[[Phase, str], None]) -> Loaded:
    """Fetch, read, compile. `Refused` when no restart helps; `MemoryError` when it does not fit."""
    kind = task_kind(options.task)
    report(Phase.DOWNLOADING, "looking for the model's files")
    folder = fetch(
        options.location,
        commit=options.commit,
        cache=options.cache,
        token=options.token,
        progress=lambda text: report(Phase.DOWNLOADING, text),
    )
    report(Phase.INITIALIZING, "loading the model")
    begin = perf_counter()
    model = open_model(folder, task=canonical(options.task), head=kind.head, threads=options.threads)
    _log.info(
        "loaded a %s of %d layers for %s in %.2f s",
        model.shape.family.prefix.rstrip("."), model.shape.layers, canonical(options.task), perf_counter() - begin,
    )  # fmt: skip
    return Loaded(model, kind.make(model), kind)
