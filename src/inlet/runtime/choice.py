"""Which variant of a model's graph computes: at once, and from when on for good. Called by `loader`.

Pinned to fp32 or bf16, that is it. Otherwise an artifact decides, and its choice stays as it is. Without one yet a classifier
answers from what needs no check and an artifact is made beside it, while everything whose answers are kept (vectors) waits for
the artifact: what is stored must not mix. If none can be made, fp32 computes: fails closed. What cannot be computed in any other
way than it came (by torch, or quantised by somebody else) is served as it came.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from inlet.core.computing import PRECISION, Precision, precision_of
from inlet.core.errors import InletError, Refused, Unavailable
from inlet.runtime import memory
from inlet.runtime.artifact import identity, worker
from inlet.runtime.artifact.candidates import first
from inlet.runtime.artifact.manifest import Manifest
from inlet.runtime.artifact.store import Artifact, Store
from inlet.runtime.artifact.worker import Job
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import BF16, FP32, Engine
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.model import OpenVinoModel
from inlet.runtime.model import Model
from inlet.runtime.options import Options
from inlet.runtime.origins.choose import Kind
from inlet.runtime.origins.opening import Opened

Report = Callable[[str], None]
# Of the weights in fp32, which may have to be made: engines of all variants at once, and int8 copies.
_MEMORY_PER_BYTE = 3.2
_MEMORY_BESIDE = 300_000_000  # interpreter, libraries, answers
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """`reason` in words, for `/info`. `better`: makes the artifact and answers with its choice; None when this one stays.

    `exactness`: the file in which the batcher keeps which forms of this engine are exact.
    """

    engine: Engine
    reason: str
    manifest: Manifest | None = None
    exactness: Path | None = None
    better: Callable[[Report], Choice] | None = None


def choose(model: Model, options: Options, report: Report) -> Choice:
    """What computes from now on; `report` hears of what takes long."""
    precision = precision_of(options.precision)
    if options.artifacts is None:
        return _without_artifacts(model, options, precision)
    waits = precision is Precision.INT8 or model.head is Head.HIDDEN
    job = Job(
        folder=model.folder,
        location=options.location.removeprefix("file://"),
        commit=options.commit,
        task=options.task,
        precision=precision,
        threads=options.threads,
        store=options.artifacts,
        background=not waits,
    )
    chooser = _Chooser(model, options, job, Store(options.artifacts))
    pinned = precision in (Precision.FP32, Precision.BF16)
    settled = None if pinned else chooser.settled()
    if settled is not None:  # the common case, and the one that must be quick
        return settled
    opened = model.open(job.exports(model.head), report)
    if pinned or not opened.improvable:
        return _as_it_came(model, opened, options, precision)
    if waits:
        return chooser.made(report)
    variant = first(bf16=can_bf16())
    engine = opened.graph.compile(variant, threads=options.threads)
    return Choice(
        engine,
        f"{variant.precision} until the others are checked against fp32",
        better=replace(chooser, serving=engine).made,
    )


def _without_artifacts(model: Model, options: Options, precision: Precision) -> Choice:
    if precision is Precision.INT8 or model.origin.kind is Kind.EXPORT:
        raise Refused("the model needs a folder for artifacts (--artifacts): int8 and exports are kept there")
    opened = model.open(Path(), lambda _: None)
    choice = _as_it_came(model, opened, options, precision)
    unchecked = precision is Precision.AUTO and opened.improvable
    return (
        replace(choice, reason="nothing else is checked without a folder for artifacts")
        if unchecked
        else choice
    )


def _as_it_came(model: Model, opened: Opened, options: Options, precision: Precision) -> Choice:
    """Without a check: in fp32 or bf16 as pinned, or in the only way that there is."""
    variant = opened.variant
    reason = f"pinned by {PRECISION}"
    if precision is Precision.BF16 and opened.improvable:
        if not can_bf16():
            raise Refused("this CPU does not compute in bf16; use auto or fp32", field=PRECISION)
        variant = BF16
    elif precision not in (Precision.AUTO, variant.precision):
        raise Refused(
            f"{model.origin.reason}, computed by {variant.engine} in {variant.precision} and in no other way; use auto",
            field=PRECISION,
        )
    elif precision is Precision.AUTO:
        reason = f"{model.origin.reason}, and there is no other way to compute it"
    return Choice(opened.graph.compile(variant, threads=options.threads), reason)


@dataclass(frozen=True, slots=True)
class _Chooser:
    """Finds, makes and takes the artifact of one model. `serving`: what answers meanwhile."""

    model: Model
    options: Options
    job: Job
    store: Store
    serving: Engine | None = None

    def settled(self) -> Choice | None:
        """The choice that was made before, if it was. What is damaged is cleared away, to be made again."""
        artifact = self._found()
        if artifact is None or not self.store.use(artifact):
            return None
        try:
            return self.taken(artifact)
        except Refused as error:
            if self.store.intact(artifact):
                raise
            _log.warning("the artifact %s is damaged: %s", artifact.folder.name[:12], error)
            with contextlib.suppress(OSError):
                self.store.remove(artifact)
            return None

    def _found(self) -> Artifact | None:
        key = identity.key_of(
            self.model.folder,
            revision=self.job.revision,
            head=self.model.head,
            precision=self.job.precision,
        )
        return self.store.find(identity.digest(key))

    def made(self, report: Report) -> Choice:
        """Make it in a process of its own and take its choice; fp32 if that fails."""
        try:
            self._check_memory()
        except Unavailable as error:
            if self.serving is not None:
                # fp32 beside it would need still more. Nothing was refused, it could only not be checked.
                _log.warning("%s is not checked: %s", self.serving.variant.precision, error)
                return Choice(self.serving, f"not checked: {error}")
            if self.job.precision == Precision.INT8:
                raise
            _log.warning("nothing is checked, so fp32 it is: %s", error)
            return Choice(self._compiled_fp32(report), f"nothing else was checked: {error}")
        try:
            artifact = self.store.get(worker.run(self.job, report))
            self.store.use(artifact)
            return self.taken(artifact)
        except InletError as error:
            if self.job.precision == Precision.INT8:
                raise
            _log.warning("no variant was checked, so fp32 it is: %s", error)
            cause = str(error)
        except OSError as error:  # the folder was taken away, or no process can be started
            if self.job.precision == Precision.INT8:
                raise
            _log.warning("no variant was checked, so fp32 it is", exc_info=error)
            cause = error.strerror or type(error).__name__
        return Choice(self._compiled_fp32(report), f"no variant was checked: {cause}")

    def taken(self, artifact: Artifact) -> Choice:
        """The artifact's choice, ready to compute."""
        engine: Engine
        manifest = artifact.manifest
        _log.info("artifact %s: %s, %s", manifest.digest[:12], manifest.chosen.name, manifest.reason)
        if self.serving is not None and self.serving.variant == manifest.chosen:
            engine = self.serving
        elif artifact.graph is not None:
            # The engine's cache refers to the weights in the graph's own file, so it is of use for such files only.
            engine = OpenVinoModel.read(artifact.graph).compile(
                manifest.chosen, threads=self.options.threads, cache=artifact.engine_cache
            )
        else:
            opened = self.model.open(self.job.exports(self.model.head), _log.info)
            engine = opened.graph.compile(manifest.chosen, threads=self.options.threads)
        kept = artifact.engine_cache / f"exactness-{self.options.threads}.json"
        return Choice(engine, manifest.reason, manifest, exactness=kept)

    def _compiled_fp32(self, report: Report) -> Engine:
        if self.serving is not None and self.serving.variant == FP32:
            return self.serving
        opened = self.model.open(self.job.exports(self.model.head), report)
        return opened.graph.compile(FP32, threads=self.options.threads)

    def _check_memory(self) -> None:
        """A build that does not fit would take this replica with it."""
        needed = int(_MEMORY_PER_BYTE * self.model.fp32_bytes) + _MEMORY_BESIDE
        free = memory.free(self.options.memory)
        if free < needed:
            raise Unavailable(
                f"checking takes about {needed / 1e6:.0f} MB beside this replica, and {free / 1e6:.0f} MB are free; choose a "
                "larger instance, or run `inlet artifact build` on a machine of this kind"
            )
