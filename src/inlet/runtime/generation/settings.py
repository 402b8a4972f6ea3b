"""How llama.cpp is to run, from the endpoint's environment: its own variables, by the names that its documentation has.

Read by `loader` and `opening`. Whatever cannot be read is `Refused` with the variable's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from inlet.core.errors import Refused

FILE = "LLAMA_ARG_MODEL"
CONTEXT = "LLAMA_ARG_CTX_SIZE"
PARALLEL = "LLAMA_ARG_N_PARALLEL"
_THREADS_HTTP = "LLAMA_ARG_THREADS_HTTP"
POOLING = "LLAMA_ARG_POOLING"
_EMBEDDINGS = "LLAMA_ARG_EMBEDDINGS"
_RERANKING = "LLAMA_ARG_RERANKING"
_GPU_LAYERS = "LLAMA_ARG_N_GPU_LAYERS"

_MOST_PARALLEL = 256
_YES = frozenset({"1", "true", "on", "yes", "enabled"})
_NO = frozenset({"", "0", "false", "off", "no", "disabled"})
_RANK = "rank"  # how a model that ranks does it
_POOLINGS = ("mean", "cls", "last", _RANK)


class Mode(StrEnum):
    """What the model is for."""

    GENERATION = "generation"
    EMBEDDINGS = "embeddings"
    RERANKING = "reranking"


@dataclass(frozen=True, slots=True)
class Settings:
    """`context`: tokens of all requests that are computed at once together. None: ours to choose."""

    file: str | None = None
    context: int | None = None
    parallel: int | None = None
    threads_http: int | None = None
    pooling: str | None = None
    mode: Mode = Mode.GENERATION

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check."""
        if environ.get(_GPU_LAYERS, "").strip() not in ("", "0"):
            raise Refused(
                "layers are computed on the processor here: leave it out or send 0", field=_GPU_LAYERS
            )
        pooling = environ.get(POOLING) or None
        if pooling not in (None, *_POOLINGS):
            raise Refused(f"{pooling!r} is not one of {', '.join(_POOLINGS)}", field=POOLING)
        mode = _mode(environ, pooling)
        if pooling is not None and mode is not (Mode.RERANKING if pooling == _RANK else Mode.EMBEDDINGS):
            raise Refused(f"{pooling} is not how a model for {mode} works: leave it out", field=POOLING)
        return cls(
            file=environ.get(FILE) or None,
            context=_number(environ, CONTEXT) or None,  # 0 means the model's own
            parallel=_number(environ, PARALLEL, least=1, most=_MOST_PARALLEL),
            threads_http=_number(environ, _THREADS_HTTP, least=1),
            pooling=pooling,
            mode=mode,
        )


def _mode(environ: Mapping[str, str], pooling: str | None) -> Mode:
    if _switch(environ, _RERANKING) or pooling == _RANK:
        return Mode.RERANKING
    return Mode.EMBEDDINGS if _switch(environ, _EMBEDDINGS) else Mode.GENERATION


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in _YES | _NO:
        raise Refused(f"{text!r} is not 1 or 0", field=name)
    return text in _YES


def _number(environ: Mapping[str, str], name: str, *, least: int = 0, most: int = 2**31 - 1) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(f"{text!r} is not a whole number from {least} to {most}", field=name)
    return int(text)
