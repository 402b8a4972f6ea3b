"""Which GGUF file of a repository is served: pure, from names and sizes.

Asked by `ways`, before anything large is fetched and again for the folder; both get the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import takewhile

import psutil

from inlet.core.errors import Refused
from inlet.runtime.generation.settings import FILE
from inlet.runtime.options import Options

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>(?!00000)\d{5})\.gguf", re.DOTALL)
_BESIDE = re.compile(
    r"(^|[/._-])(mmproj|imatrix|lora)([._-]|$)", re.IGNORECASE
)  # files that are no model by themselves
_ROOM = 0.8  # of the memory, for the weights; the rest is for the context and the program
_MOUNTED = "/repository/"  # where the public service mounts a repository, and so how people name its files


def memory_of(options: Options) -> int:
    """Bytes that weights, context and programs may take; the same at every start, so that the same file is chosen."""
    return options.memory or psutil.virtual_memory().total


def is_gguf(names: Mapping[str, int]) -> bool:
    """Whether there is a model for llama.cpp among these files."""
    return bool(_models(names))


def choose(sizes: Mapping[str, int], *, named: str | None, memory: int) -> tuple[str, ...]:
    """The file, or all parts of one that was split, first part first.

    The one that is named; else the largest that fits into `memory` bytes with room for a context. `Refused` if there is none.
    """
    models = _models(sizes)
    if named is not None:
        wanted = named.removeprefix(_MOUNTED).removeprefix("./")
        for parts in models.values():
            if wanted in parts:
                return parts
        raise Refused(f"there is no file {named!r}; there are: {', '.join(sorted(models))}", field=FILE)
    weights = {name: sum(sizes[part] for part in parts) for name, parts in models.items()}
    fitting = {name: size for name, size in weights.items() if size <= memory * _ROOM}
    if not fitting:
        smallest = min(weights, key=lambda name: (weights[name], name))
        raise Refused(
            f"{smallest} alone has {weights[smallest] / 1e9:.1f} GB of weights, and {memory / 1e9:.1f} GB of memory are there for "
            "all: choose a larger instance, or a smaller quantisation",
            field="model",
        )
    return models[max(fitting, key=lambda name: (fitting[name], name))]


def _models(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The parts of each model that is there as a whole, by its first one; `Refused` when there are only others."""
    models: dict[str, tuple[str, ...]] = {}
    lacking = ""
    for name in sorted(names):
        if not name.endswith(".gguf") or _BESIDE.search(name):
            continue
        part = _PART.fullmatch(name)
        if part is None:
            models[name] = (name,)
        elif int(part["number"]) == 1:
            parts = (_part(part, number) for number in range(1, int(part["total"]) + 1))
            # One by one: a name may speak of more parts than there is room for.
            present = tuple(takewhile(names.__contains__, parts))
            if len(present) == int(part["total"]):
                models[name] = present
            else:
                lacking = f"{_part(part, len(present) + 1)} is missing, a part of {name}"
    if lacking and not models:
        raise Refused(lacking, field="model")
    return models


def _part(first: re.Match[str], number: int) -> str:
    return f"{first['stem']}-{number:05}-of-{first['total']}.gguf"
