"""Which variant of a model's graph computes: at once, and from when on for good. Called by `loader`.

Pinned to fp32 or bf16, that is it. Otherwise an artifact decides, and its choice stays as it is. Without one yet a classifier
answers from what needs no check and an artifact is made beside it, while everything whose answers are kept (vectors) waits for
the artifact: what is stored must not mix. If none can be made, fp32 computes: fails closed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import psutil

from inlet.core.errors import InletError, Refused, Unavailable
from inlet.runtime.artifact import identity, worker
from inlet.runtime.artifact.candidates import BF16, FP32, first
from inlet.runtime.artifact.manifest import Manifest
from inlet.runtime.artifact.store import Artifact, Store
from inlet.runtime.artifact.worker import Job
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import Engine, Variant
from inlet.runtime.engines.openvino.engine import can_bf16
from inlet.runtime.engines.openvino.model import OpenVinoModel
from inlet.runtime.model import Model
from inlet.runtime.options import Options

Report = Callable[[str], None]
_MEMORY_PER_BYTE = 1.5  # of the weights' files: the reference's engine, and int8 copies
_MEMORY_BESIDE = 300_000_000  # interpreter, libraries, answers
_log = logging.getLogger(__name__)


class Precision(StrEnum):
    """What a person may ask for (`INLET_PRECISION`)."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Choice:
    """`reason` in words, for `/info`. `better`: makes the artifact and answers with its choice; None when this one stays."""

    engine: Engine
    reason: str
    manifest: Manifest | None = None
    better: Callable[[Report], Choice] | None = None


def precision_of(text: str) -> Precision:
    """`Refused` names the ones that there are."""
    try:
        return Precision(text.strip().lower())
    except ValueError:
        raise Refused(f"{text!r} is none of {', '.join(Precision)}", field="INLET_PRECISION") from None


def choose(model: Model, options: Options, report: Report) -> Choice:
    """What computes from now on."""
    precision = precision_of(options.precision)
    if precision is Precision.FP32:
        return _plain(model, options, FP32, "pinned by INLET_PRECISION")
    if precision is Precision.BF16:
        if not can_bf16():
            raise Refused("this CPU does not compute in bf16; use auto or fp32", field="INLET_PRECISION")
        return _plain(model, options, BF16, "pinned by INLET_PRECISION")
    if options.artifacts is None:
        if precision is Precision.INT8:
            raise Refused("int8 needs a folder for artifacts (--artifacts)", field="INLET_PRECISION")
        return _plain(model, options, FP32, "nothing else can be checked without a folder for artifacts")
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
    maker = _Maker(model, options, job, Store(options.artifacts))
    found = maker.found()
    if found is not None:
        return maker.opened(found)
    if waits:
        return maker.made(report)
    variant = first(bf16=can_bf16())
    reason = f"{variant.precision} until the other variants are checked against fp32"
    return replace(_plain(model, options, variant, reason), better=maker.made)


def _plain(model: Model, options: Options, variant: Variant, reason: str) -> Choice:
    """Straight from the model's own files."""
    return Choice(model.graph().compile(variant, threads=options.threads), reason)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Finds, makes and opens the artifact of one model."""

    model: Model
    options: Options
    job: Job
    store: Store

    def found(self) -> Artifact | None:
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
            digest = worker.run(self.job, report)
            return self.opened(self.store.get(digest))
        except InletError as error:
            if self.job.precision == Precision.INT8:
                raise
            _log.warning("no variant was checked, so fp32 it is: %s", error)
            return _plain(self.model, self.options, FP32, f"no variant was checked: {error}")

    def opened(self, artifact: Artifact) -> Choice:
        manifest = artifact.manifest
        _log.info("artifact %s: %s, %s", manifest.digest[:12], manifest.chosen.name, manifest.reason)
        graph = self.model.graph() if artifact.graph is None else OpenVinoModel.read(artifact.graph)
        cache = None if artifact.graph is None else self.store.engine_cache
        engine = graph.compile(manifest.chosen, threads=self.options.threads, cache=cache)
        return Choice(engine, manifest.reason, manifest)

    def _check_memory(self) -> None:
        """A build that does not fit would take this replica with it."""
        size = sum(file.stat().st_size for file in self.model.folder.glob("*.safetensors"))
        needed = int(_MEMORY_PER_BYTE * size) + _MEMORY_BESIDE
        free = psutil.virtual_memory().available
        if self.options.memory is not None:
            free = min(free, self.options.memory - psutil.Process().memory_full_info().uss)
        if free < needed:
            raise Unavailable(
                f"checking takes about {needed / 1e6:.0f} MB beside this replica, and {free / 1e6:.0f} MB are free; choose a "
                "larger instance, or run `inlet artifact build` on a machine of this kind"
            )
