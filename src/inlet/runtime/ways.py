"""The way in which a model is served, and which of its files that takes: told from names, sizes, `config.json` and the task.

Called by `loader` before anything large is fetched, and again for the folder; both get the same answer. The first way that fits counts:
a handler of its own, scikit-learn, llama.cpp, our encoders, and for everything else torch. Looks into no file.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from inlet.core.errors import Refused
from inlet.core.handlers import handler_file
from inlet.core.tasks import DIFFUSERS
from inlet.runtime.build.encoder import Head
from inlet.runtime.generation import files as gguf_files
from inlet.runtime.generation.settings import Settings
from inlet.runtime.gguf import files as safetensors_files
from inlet.runtime.gguf.config import decoder
from inlet.runtime.options import Options
from inlet.runtime.origins import files as encoder_files
from inlet.runtime.origins.choose import Extras, Kind, choose
from inlet.runtime.pipelines import files as pipeline_files
from inlet.runtime.pipelines import tasks as pipelines
from inlet.runtime.sklearn import files as sklearn_files
from inlet.runtime.tasks import GENERATION, TABULAR, TASKS, canonical

_CONFIG = "config.json"
_ONLY_BUILT = (Head.ANSWER, Head.MASKED)  # whose graphs nobody else makes as we do


class Way(StrEnum):
    """What computes."""

    HANDLER = "handler"
    SKLEARN = "sklearn"
    GGUF = "gguf"
    CONVERTED = "converted"
    ENCODER = "encoder"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Choice:
    """`files`: the names of those that it takes. `reason`: why no quicker way is open, in words."""

    way: Way
    files: Collection[str]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `memory`: bytes for weights and all that is beside them."""

    task: str
    handler: bool
    code: bool
    llama: Settings
    memory: int
    extras: Extras
    llamacpp: bool

    @classmethod
    def of(cls, options: Options, llama: Settings) -> Wish:
        """That of these options, with what is installed here."""
        installed = all(importlib.util.find_spec(name) is not None for name in ("xllamacpp", "gguf"))
        return cls(
            task=canonical(options.task),
            handler=not options.handler.ignored,
            code=options.trust.code and options.trust.remote_code,
            llama=llama,
            memory=gguf_files.memory_of(options),
            extras=Extras.installed(),
            llamacpp=installed,
        )

    @property
    def label(self) -> str:
        """Tells apart what different wishes may choose from one repository."""
        # Of the size of the instance only the choice among .gguf files depends.
        wish = self if self.task == GENERATION or self.llama.file is not None else replace(self, memory=0)
        return hashlib.sha256(repr(wish).encode()).hexdigest()[:12]


def choose_way(sizes: Mapping[str, int], config: Mapping[str, Any], wish: Wish) -> Choice:
    """The way, `Refused` with the next step when there is none. `sizes`: bytes of every file by its name."""
    if wish.handler and handler_file(sizes):
        return Choice(Way.HANDLER, sizes)
    if wish.task == GENERATION or wish.llama.file is not None:
        return _generation(sizes, config, wish)
    files = sklearn_files.needed(sizes, config)
    if files or wish.task in TABULAR:
        return Choice(Way.SKLEARN, files)
    if DIFFUSERS in sizes and wish.task in pipelines.TASKS:
        return _pipeline(sizes, wish, f"{wish.task} is computed by diffusers")
    if _CONFIG not in sizes:
        raise Refused(
            "the repository has neither a config.json, as a transformers model has, nor a scikit-learn model (model.skops, "
            "model.joblib or model.pkl), nor a handler.py",
            field="model",
        )
    if wish.task in TASKS:
        return _encoder(sizes, config, wish)
    if pipelines.canonical(wish.task) in pipelines.TASKS:
        return _pipeline(sizes, wish, f"{wish.task} is computed by torch")
    wanted = f"the task {wish.task!r} is not known" if wish.task else "no task was given"
    known = sorted({*TASKS, *TABULAR, GENERATION, *pipelines.TASKS})
    raise Refused(f"{wanted}; known: {', '.join(known)}", field="task")


def _generation(sizes: Mapping[str, int], config: Mapping[str, Any], wish: Wish) -> Choice:
    if gguf_files.is_gguf(sizes):
        return Choice(Way.GGUF, gguf_files.choose(sizes, named=wish.llama.file, memory=wish.memory))
    if wish.llama.file is not None:
        raise Refused("the repository has no .gguf file", field="model")
    try:
        decoder(config)
    except Refused as error:
        return _pipeline(sizes, wish, f"computed by torch, since llama.cpp does not do it: {error}")
    files = safetensors_files.needed(sizes)
    if not any(name.endswith(".safetensors") for name in files):
        return _pipeline(
            sizes, wish, "computed by torch, since there are no safetensors to make a .gguf file of"
        )
    if not wish.llamacpp:
        if wish.extras.torch:
            return _pipeline(sizes, wish, "computed by torch, since llama.cpp is not installed here")
        raise Refused(
            "text generation takes llama.cpp: install inlet-endpoints[llamacpp] on the server", field="model"
        )
    return Choice(Way.CONVERTED, files)


def _encoder(sizes: Mapping[str, int], config: Mapping[str, Any], wish: Wish) -> Choice:
    try:
        origin = choose(sizes, config, wish.extras)
    except Refused as error:
        if wish.extras.torch and wish.task in pipelines.TASKS:
            return _pipeline(sizes, wish, f"computed by torch: {error}")
        raise
    if origin.kind is Kind.EXPORT and wish.code and "auto_map" in config and wish.task in pipelines.TASKS:
        return _pipeline(sizes, wish, "computed by torch, with Python files of its repository")
    if TASKS[wish.task].head in _ONLY_BUILT and origin.kind is not Kind.BUILT:
        return _pipeline(
            sizes, wish, f"computed by torch, since its graph is not built here ({origin.reason})"
        )
    return Choice(Way.ENCODER, encoder_files.needed(sizes, origin))


def _pipeline(sizes: Mapping[str, int], wish: Wish, reason: str) -> Choice:
    if not wish.extras.torch:
        raise Refused(
            f"{reason}; that takes torch and transformers: install inlet-endpoints[torch] on the server",
            field="model",
        )
    return Choice(Way.PIPELINE, pipeline_files.needed(sizes, code=wish.code), reason)
