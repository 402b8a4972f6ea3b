"""Every system that can be measured, with the versions of all that it is made of. Read by `rounds` and `__main__`.

A peer is there three times where it can be: as its documentation shows it, tuned within its own means (threads of all
its processors, no gradients, bf16 where the processor has it), and with Inlet's engine inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.session import PRECISIONS
from benchmarks.systems.base import INPUTS, Dialect, System, best
from benchmarks.systems.product import Inlet
from benchmarks.systems.program import Command, Environment, Program
from benchmarks.workload import Answer
from inlet.runtime.engines.openvino.engine import can_bf16

# Versions. The stock container's release has this transformers; torch is the newest build for processors, which is to
# its advantage. Peers get the same.
_TORCH = ("torch==2.13.0", "transformers==4.51.3")
_ENGINE = ("openvino==2026.4.1",)
_SERVERS = {
    "stock": ("starlette==0.46.2", "uvicorn[standard]==0.34.3", "orjson==3.10.18"),
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
    "litserve": ("litserve==0.2.19",),
    "bentoml": ("bentoml==1.4.40",),
    "mlserver": ("mlserver==1.7.1", "uvicorn==0.34.3"),  # with newer ones it does not start
    "ray": ("ray[serve]==2.60.0",),
    "infinity": ("infinity-emb[torch,server]==0.0.78",),
}

_TUNED = "bf16" if can_bf16() else "fp32"
_INSIDE = "int8"  # the fastest
_KINDS = {"documented": "fp32", "tuned": _TUNED, "inlet": _INSIDE}
_SUFFIX = {"documented": "", "tuned": " tuned", "inlet": " + inlet engine"}


def _environment(server: str, *more: str) -> Environment:
    return Environment(server, (*_SERVERS[server], *_TORCH, *more))


def _module(name: str) -> Command:
    return lambda python, _model, _port: [str(python), "-m", f"benchmarks.servers.{name}"]


def _bentoml(python: Path, _: Path, port: int) -> Sequence[str]:
    service = "benchmarks.servers.bentoml_app:Classifier"
    return [str(python), "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def _infinity(*more: str) -> Command:
    # Its own warm-up, 32 texts of 512 tokens, would take minutes and nothing of what is measured.
    def command(python: Path, model: Path, port: int) -> Sequence[str]:
        return [
            str(python.with_name("infinity_emb")), "v2", "--model-id", str(model), "--served-model-name", "bench",
            "--no-model-warmup", "--engine", "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port), *more,
        ]  # fmt: skip

    return command


def _read_mlserver(answer: Any) -> Answer:
    return best(json.loads(answer["outputs"][0]["data"][0]))


def _read_infinity(answer: Any) -> Answer:
    return best(sorted(answer["data"][0], key=lambda item: -item["score"]))


_MLSERVER = Dialect(
    "/v2/models/bench/infer",
    lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
    _read_mlserver,
)
_INFINITY = Dialect("/classify", lambda text: {"model": "bench", "input": [text]}, _read_infinity)
_AT = {path: Dialect(path, INPUTS.body, best) for path in ("/predict", "/classify")}


def _thrice(
    name: str, environment: Environment, command: Command, dialect: Dialect, note: str = ""
) -> Iterator[Program]:
    for kind, precision in _KINDS.items():
        yield Program(name + _SUFFIX[kind], precision, environment, command, dialect, kind, note)


def _peers() -> Iterator[Program]:
    stock = (
        "Starlette, uvicorn and a transformers pipeline as in the stock container; not that container itself"
    )
    yield from _thrice("stock stand-in", _environment("stock", *_ENGINE), _module("stock"), INPUTS, stock)
    yield from _thrice("FastAPI", _environment("fastapi", *_ENGINE), _module("fastapi_app"), INPUTS)
    yield from _thrice(
        "LitServe", _environment("litserve", *_ENGINE), _module("litserve_app"), _AT["/predict"]
    )
    yield from _thrice("BentoML", _environment("bentoml", *_ENGINE), _bentoml, _AT["/classify"])
    yield from _thrice("MLServer", _environment("mlserver", *_ENGINE), _module("mlserver_app"), _MLSERVER)
    yield from _thrice("Ray Serve", _environment("ray", *_ENGINE), _module("ray_app"), INPUTS)
    engine = "its engine is its own: Inlet's cannot be put inside"
    environment = _environment("infinity")
    yield Program("infinity", "fp32", environment, _infinity(), _INFINITY, "documented", engine)
    yield Program(
        "infinity tuned",
        _TUNED,
        environment,
        _infinity("--dtype", {"bf16": "bfloat16", "fp32": "float32"}[_TUNED]),
        _INFINITY,
        "tuned",
        engine,
    )


# Not servers: our engine called in a loop, by precision.
ENGINES: Mapping[str, str] = {f"engine {precision}": precision for precision in PRECISIONS}

SYSTEMS: Mapping[str, System] = {
    system.name: system
    for system in (
        Inlet("inlet"),
        *(Inlet(f"inlet {precision}", precision) for precision in PRECISIONS),
        *_peers(),
    )
}
