"""From options to something that answers: an encoder with engine and task, or a predictor. Runs in a thread while `/health` answers 503, or beside
what is served already when a better variant takes over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

from inlet.core.computing import share_of
from inlet.runtime.artifact.traffic import Recorder, traffic_file
from inlet.runtime.calls import Predictor
from inlet.runtime.choice import Choice, choose
from inlet.runtime.model import Model, open_model
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase
from inlet.runtime.sklearn.files import is_sklearn
from inlet.runtime.sources import fetch
from inlet.runtime.tasks import TABULAR, TaskKind, canonical, task_kind
from inlet.runtime.tasks.base import Task

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


def load(options: Options, report: Callable[[Phase, str], None]) -> Loaded | Predictor:
    """Fetch, read, compile. `Refused` when no restart helps; `MemoryError` when it does not fit."""
    task = canonical(options.task)
    if task not in TABULAR:
        task_kind(task)  # refuses what cannot be served before anything is fetched
    report(Phase.DOWNLOADING, "looking for the model's files")
    folder = fetch(
        options.location,
        commit=options.commit,
        cache=options.cache,
        token=options.token,
        progress=lambda text: report(Phase.DOWNLOADING, text),
    )
    report(Phase.INITIALIZING, "loading the model")
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
