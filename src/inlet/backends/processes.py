"""What an image of the public API is where processes run instead of containers: a command line, or variables of our own replica.

Pure. Asked by `control/admission.py` whether it can be had, and by a backend that runs processes when it starts one. The one
place that knows the settings of each image and the flags of each program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inlet.core.errors import Invalid

MANAGED = "huggingface"
"""The image that is this replica itself."""

URL = "process:"
"""The `url` of an image that is to run as a process; any other names a container."""

_CUSTOM, _LLAMA = "custom", "llamacpp"
_HEALTH_ROUTE = "/health"


@dataclass(frozen=True, slots=True)
class Process:
    """`words`: a command beside the replica, which may hold the places that `runtime/foreign/program` fills; empty when the replica serves."""

    words: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    health_route: str = _HEALTH_ROUTE
    port: int | None = None


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program is called, and the flag of each setting."""

    words: tuple[str, ...]
    flags: Mapping[str, str]


# Two run on one machine only if each has its own port for metrics, and its own sockets inside.
_LISTENING_APART = ("--hostname", "127.0.0.1", "--port", "{port}", "--prometheus-port", "{other_port}")
_LISTENING = ("--host", "127.0.0.1", "--port", "{port}")
_PROGRAMS: Mapping[str, _Program] = {
    "tei": _Program(
        (
            "text-embeddings-router",
            "--model-id",
            "{model}",
            *_LISTENING_APART,
            "--uds-path",
            "{private}/backend",
        ),
        {
            "maxBatchTokens": "--max-batch-tokens",
            "maxConcurrentRequests": "--max-concurrent-requests",
            "pooling": "--pooling",
        },
    ),
    "tgi": _Program(
        (
            "text-generation-launcher",
            "--model-id",
            "{model}",
            *_LISTENING_APART,
            "--shard-uds-path",
            "{private}/shard",
        ),
        {
            "maxBatchPrefillTokens": "--max-batch-prefill-tokens",
            "maxBatchTotalTokens": "--max-batch-total-tokens",
            "maxInputLength": "--max-input-tokens",
            "maxTotalTokens": "--max-total-tokens",
            "disableCustomKernels": "--disable-custom-kernels",
            "quantize": "--quantize",
        },
    ),
    "vLLM": _Program(
        ("vllm", "serve", "{model}", *_LISTENING),
        {
            "tensorParallelSize": "--tensor-parallel-size",
            "dataParallelSize": "--data-parallel-size",
            "kvCacheDtype": "--kv-cache-dtype",
            "maxNumBatchedTokens": "--max-num-batched-tokens",
            "maxNumSeqs": "--max-num-seqs",
        },
    ),
    "sGLang": _Program(
        ("python3", "-m", "sglang.launch_server", "--model-path", "{model}", *_LISTENING),
        {
            "chunkedPrefillSize": "--chunked-prefill-size",
            "kvCacheDtype": "--kv-cache-dtype",
            "maxPrefillTokens": "--max-prefill-tokens",
            "maxRunningRequests": "--max-running-requests",
            "tensorParallelSize": "--tp-size",
        },
    ),
}
_VALUES = {"fp8-e4-m3": "fp8_e4m3", "fp8-e5-m2": "fp8_e5m2"}  # as the programs spell them

# llama.cpp runs in the replica's own care, by llama.cpp's own variables.
_LLAMACPP = {
    "modelPath": "LLAMA_ARG_MODEL",
    "ctxSize": "LLAMA_ARG_CTX_SIZE",
    "nParallel": "LLAMA_ARG_N_PARALLEL",
    "nGpuLayers": "LLAMA_ARG_N_GPU_LAYERS",
    "pooling": "LLAMA_ARG_POOLING",
    "threadsHttp": "LLAMA_ARG_THREADS_HTTP",
    "embeddings": "LLAMA_ARG_EMBEDDINGS",
}
_LLAMACPP_MODES = {"embeddings": "LLAMA_ARG_EMBEDDINGS", "reranking": "LLAMA_ARG_RERANKING"}
_LLAMACPP_MISSING = {
    "mmprojModelPath": "models that read images are not served by llama.cpp here: leave it out",
    "specModelPath": "drafts by a second model are not available here: leave it out",
}


def runs_command(kind: str) -> bool:
    """Whether an image is a command that a person or a program of somebody else's brings."""
    return kind not in (MANAGED, _LLAMA)


def process_of(
    kind: str, settings: Mapping[str, Any], command: Sequence[str], args: Sequence[str]
) -> Process:
    """The process; `Invalid`, with the field, for what can only run in a container or is no command."""
    if kind == MANAGED:
        _check_no_command(command, args, "the managed image")
        return Process()
    if kind not in (_CUSTOM, _LLAMA, *_PROGRAMS):
        raise Invalid(
            f"{kind} needs a backend that runs containers, and this one runs processes: send one of "
            f"{', '.join((MANAGED, _CUSTOM, _LLAMA, *_PROGRAMS))}",
            field="model.image",
        )
    _check_url(kind, settings)
    if kind == _LLAMA:
        _check_no_command(command, args, _LLAMA)
        return Process(variables=_llamacpp(settings))
    return Process(
        words=_words(kind, settings, command, args),
        health_route=settings.get("healthRoute") or settings.get("health_route") or _HEALTH_ROUTE,
        port=settings.get("port") if kind == _CUSTOM else None,
    )


def _check_url(kind: str, settings: Mapping[str, Any]) -> None:
    if settings.get("url") != URL:
        raise Invalid(
            "names a container, and this backend runs processes: send "
            f"{URL!r} for a process on this server, or leave the image out",
            field=f"model.image.{kind}.url",
        )
    if settings.get("credentials"):
        raise Invalid("a process needs none: leave it out", field=f"model.image.{kind}.credentials")


def _check_no_command(command: Sequence[str], args: Sequence[str], who: str) -> None:
    for name, words in (("model.args", args), ("model.command", command)):
        if words:
            raise Invalid(f"{who} takes no command line: leave it out or send []", field=name)


def _words(
    kind: str, settings: Mapping[str, Any], command: Sequence[str], args: Sequence[str]
) -> tuple[str, ...]:
    if kind == _CUSTOM:
        if not command:
            raise Invalid(
                "a process needs one: send the program and its arguments as a list", field="model.command"
            )
        return (*command, *args)
    program = _PROGRAMS[kind]
    flags: list[str] = []
    for name, flag in program.flags.items():
        value = settings.get(name)
        if value is True:
            flags.append(flag)
        elif value is not None and value is not False:
            flags += [flag, _VALUES.get(str(value), str(value))]
    return (*(command or program.words), *flags, *args)


def _llamacpp(settings: Mapping[str, Any]) -> dict[str, str]:
    for name, reason in _LLAMACPP_MISSING.items():
        if settings.get(name):
            raise Invalid(reason, field=f"model.image.llamacpp.{name}")
    _check_pooling(settings)
    variables = {
        variable: str(settings[name])
        for name, variable in _LLAMACPP.items()
        if settings.get(name) is not None
    }
    if mode := settings.get("mode"):
        variables[_LLAMACPP_MODES[mode]] = "1"
    return variables


def _check_pooling(settings: Mapping[str, Any]) -> None:
    """One that has no meaning for what the model is to do would be an error at its start."""
    pooling, mode = settings.get("pooling"), settings.get("mode")
    if settings.get("embeddings") and mode is None:  # as it was said before
        mode = "embeddings"
    if pooling not in (None, "rank") and mode != "embeddings":
        raise Invalid(
            f'{pooling} is of embeddings: send "mode": "embeddings", or leave it out',
            field="model.image.llamacpp.pooling",
        )
