"""From options to something that answers, in the way that `ways` chose. Called by `starting`, in a thread while `/health` answers 503, or beside
what is served already when a better variant takes over. Must never start what it opens.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inlet.core.computing import share_of
from inlet.core.errors import Refused
from inlet.runtime.artifact.traffic import Recorder, traffic_file
from inlet.runtime.calls import Predictor
from inlet.runtime.choice import Choice, choose
from inlet.runtime.generation.settings import Settings
from inlet.runtime.model import Model, open_model
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase
from inlet.runtime.sklearn.files import folder_config
from inlet.runtime.sources import Selection, fetch
from inlet.runtime.tasks import TaskKind, task_kind
from inlet.runtime.tasks.base import Task
from inlet.runtime.ways import Way, Wish, choose_way
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
    wish = Wish.of(options, Settings.from_env(os.environ))
    folder = fetched(options, lambda text: report(Phase.DOWNLOADING, text), wish)
    report(Phase.INITIALIZING, "loading the model")
    config = folder_config(folder)
    chosen = choose_way(_sizes(folder), config, wish)

    def tell(progress: str) -> None:
        report(Phase.INITIALIZING, progress)

    match chosen.way:
        case Way.HANDLER:
            from inlet.runtime.handler.opening import open_handler

            return open_handler(folder, options, tell)
        case Way.SKLEARN:
            from inlet.runtime.sklearn.opening import open_predictor

            return open_predictor(folder, wish.task, options.trust)
        case Way.GGUF:
            from inlet.runtime.generation.opening import open_gguf

            return open_gguf([folder / name for name in chosen.files], options, wish.llama)
        case Way.CONVERTED:
            return _converted(folder, config, options, wish, tell)
        case Way.PIPELINE:
            from inlet.runtime.pipelines.opening import open_pipeline

            return open_pipeline(folder, config, options, chosen.reason)
    return _encoder(folder, options, wish.task, tell)


def fetched(options: Options, tell: Callable[[str], None], wish: Wish | None = None) -> Path:
    """The folder with the files that serving these options takes; fails as `fetch` does."""
    wanted = wish or Wish.of(options, Settings.from_env(os.environ))
    tell("looking for the model's files")
    return fetch(
        options.location,
        commit=options.commit,
        cache=options.cache,
        token=options.token,
        progress=tell,
        selection=Selection(wanted.label, lambda sizes, config: choose_way(sizes, config, wanted).files),
    )


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def _converted(
    folder: Path, config: Mapping[str, Any], options: Options, wish: Wish, tell: Callable[[str], None]
) -> Program | Llama:
    """By llama.cpp if its file can be made, else by torch where that is installed."""
    from inlet.runtime.generation.opening import open_gguf
    from inlet.runtime.gguf.conversion import converted

    if options.artifacts is None:
        raise Refused("the model needs a folder for artifacts (--artifacts): its .gguf file is kept there")
    revision = None if options.commit is None else f"{options.location}@{options.commit}"
    try:
        file = converted(folder, options.artifacts / "gguf", tell, revision=revision)
    except Refused as error:
        if not wish.extras.torch:
            raise Refused(
                f"{error}; torch could compute it: install inlet-endpoints[torch] on the server",
                field="model",
            ) from error
        from inlet.runtime.pipelines.opening import open_pipeline

        reason = f"computed by torch, since no .gguf file could be made: {error}"
        return open_pipeline(folder, config, options, reason)
    return open_gguf([file], options, wish.llama)


def _encoder(folder: Path, options: Options, task: str, tell: Callable[[str], None]) -> Loaded:
    kind = task_kind(task)
    begin = perf_counter()
    model = open_model(folder, task=task, head=kind.head)
    recorder = _recorder(options, task)
    choice = choose(model, options, tell)
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
