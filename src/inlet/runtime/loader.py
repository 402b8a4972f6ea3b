"""From options to something that answers: an encoder with engine and task, a predictor, or a program for a worker. Runs in a thread while `/health` answers 503, or beside
what is served already when a better variant takes over.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from inlet.core.computing import share_of
from inlet.runtime.artifact.traffic import Recorder, traffic_file
from inlet.runtime.calls import Predictor
from inlet.runtime.choice import Choice, choose
from inlet.runtime.generation import files
from inlet.runtime.generation.settings import Settings
from inlet.runtime.handler.files import handler_file
from inlet.runtime.model import Model, open_model
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase
from inlet.runtime.sklearn.files import is_sklearn
from inlet.runtime.sources import USED, fetch
from inlet.runtime.tasks import GENERATION, TABULAR, TaskKind, canonical, task_kind
from inlet.runtime.tasks.base import Task
from inlet.runtime.worker.program import Program

if TYPE_CHECKING:
    from inlet.runtime.generation.opening import Llama

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, what computes it, what keeps samples of its traffic, and the task on it."""

    model: Model
    choice: Choice
    recorder: Recorder | None
    task: Task
    kind: TaskKind

    def improved(self, report: Callable[[str], None]) -> Loaded:
        """The same with the variant that is to stay, once there is one; itself when it stays."""
        return self if self.choice.better is None else replace(self, choice=self.choice.better(report))


def load(options: Options, report: Callable[[Phase, str], None]) -> Loaded | Predictor | Program | Llama:
    """Fetch, read, compile. `Refused` when no restart helps; `MemoryError` when it does not fit."""
    task = canonical(options.task)
    settings = Settings.from_env(os.environ)
    wanted = USED
    if task == GENERATION or settings.file is not None:
        wanted = files.selection(settings, files.memory_of(options))

    def check_task() -> None:
        if wanted is USED and task not in TABULAR:
            task_kind(task)

    report(Phase.DOWNLOADING, "looking for the model's files")
    folder = fetch(
        options.location,
        commit=options.commit,
        cache=options.cache,
        token=options.token,
        progress=lambda text: report(Phase.DOWNLOADING, text),
        handlers=not options.handler.ignored,
        without_handler=check_task,  # before anything is fetched in vain
        selection=wanted,
    )
    report(Phase.INITIALIZING, "loading the model")
    if not options.handler.ignored and handler_file({path.name for path in folder.iterdir()}):
        from inlet.runtime.handler.opening import open_handler

        return open_handler(folder, options, lambda text: report(Phase.INITIALIZING, text))
    if wanted is not USED and any(folder.rglob("*.gguf")):
        from inlet.runtime.generation.opening import open_gguf

        return open_gguf(folder, options, task)
    check_task()
    if is_sklearn(folder) or task in TABULAR:
        from inlet.runtime.sklearn.opening import open_predictor

        return open_predictor(folder, task, options.trust)
    kind = task_kind(task)
    begin = perf_counter()
    model = open_model(folder, task=task, head=kind.head)
    recorder = _recorder(options, task)
    choice = choose(model, options, lambda text: report(Phase.INITIALIZING, text))
    _log.info(
        "loaded a %s for %s in %.2f s (%s), in %s: %s",
        model.shape.model_type, task, perf_counter() - begin, model.origin.reason,
        choice.engine.variant.precision, choice.reason,
    )  # fmt: skip
    return Loaded(model, choice, recorder, kind.make(model), kind)


def _recorder(options: Options, task: str) -> Recorder | None:
    share = share_of(options.sample_traffic)
    if not share or options.artifacts is None:
        return None
    path = traffic_file(options.artifacts, options.location.removeprefix("file://"), task)
    return Recorder(path, share)
