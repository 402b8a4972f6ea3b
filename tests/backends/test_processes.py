"""What each image is on a backend that runs processes: the whole table, pure."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inlet.backends.processes import Process, process_of
from inlet.core.errors import Invalid
from inlet.wire.v2 import documents

URL = {"url": "process:"}
BASE = {"url", "port", "healthRoute", "health_route", "env", "credentials"}
RUN = {"tei": documents.Tei, "tgi": documents.Tgi, "vLLM": documents.VLLM, "sGLang": documents.SGLang}


@pytest.mark.parametrize(
    ("kind", "settings", "line"),
    [
        ("tei", {"maxBatchTokens": 9, "maxConcurrentRequests": 8, "pooling": "cls"},
         ("text-embeddings-router --model-id {model} --hostname 127.0.0.1 --port {port} "
         "--prometheus-port {other_port} --uds-path {private}/backend "
         "--max-batch-tokens 9 --max-concurrent-requests 8 --pooling cls")),
        ("tgi", {"maxBatchPrefillTokens": 1, "maxBatchTotalTokens": 2, "maxInputLength": 3, "maxTotalTokens": 4,
                 "disableCustomKernels": True, "quantize": "awq"},
         ("text-generation-launcher --model-id {model} --hostname 127.0.0.1 --port {port} "
         "--prometheus-port {other_port} --shard-uds-path {private}/shard --max-batch-prefill-tokens 1 "
         "--max-batch-total-tokens 2 --max-input-tokens 3 --max-total-tokens 4 --disable-custom-kernels --quantize awq")),
        ("tgi", {"disableCustomKernels": False, "quantize": None},
         ("text-generation-launcher --model-id {model} --hostname 127.0.0.1 --port {port} "
         "--prometheus-port {other_port} --shard-uds-path {private}/shard")),
        ("vLLM", {"tensorParallelSize": 2, "dataParallelSize": 1, "kvCacheDtype": "fp8-e4-m3", "maxNumBatchedTokens": 5,
                  "maxNumSeqs": 6},
         ("vllm serve {model} --host 127.0.0.1 --port {port} --tensor-parallel-size 2 --data-parallel-size 1 "
         "--kv-cache-dtype fp8_e4m3 --max-num-batched-tokens 5 --max-num-seqs 6")),
        ("sGLang", {"chunkedPrefillSize": 1, "kvCacheDtype": "fp8-e5-m2", "maxPrefillTokens": 2, "maxRunningRequests": 3,
                    "tensorParallelSize": 4},
         ("python3 -m sglang.launch_server --model-path {model} --host 127.0.0.1 --port {port} --chunked-prefill-size 1 "
         "--kv-cache-dtype fp8_e5m2 --max-prefill-tokens 2 --max-running-requests 3 --tp-size 4")),
    ],
)  # fmt: skip
def test_settings_become_flags(kind: str, settings: dict[str, Any], line: str) -> None:
    assert process_of(kind, URL | settings, [], []).words == tuple(line.split())


@pytest.mark.parametrize("kind", RUN)
def test_no_setting_of_the_api_is_lost(kind: str) -> None:
    names = {field.alias or name for name, field in RUN[kind].model_fields.items()} - BASE
    plain = process_of(kind, URL, [], []).words
    for name in names:
        assert process_of(kind, URL | {name: True}, [], []).words != plain, name


def test_a_custom_command() -> None:
    settings = URL | {"port": 7, "healthRoute": "/ok"}
    assert process_of("custom", settings, ["serve", "--port", "$PORT"], ["-v"]) == Process(
        ("serve", "--port", "$PORT", "-v"), health_route="/ok", port=7
    )
    assert process_of("custom", URL | {"health_route": "/old"}, ["serve"], []).health_route == "/old"


def test_a_command_takes_the_place_of_a_programs_own() -> None:
    assert process_of("vLLM", URL | {"maxNumSeqs": 3}, ["my-vllm"], ["--more"]).words == (
        "my-vllm", "--max-num-seqs", "3", "--more",
    )  # fmt: skip


def test_llamacpp_is_the_replicas_own() -> None:
    settings = {"modelPath": "a.gguf", "ctxSize": 4096, "nParallel": 2, "mode": "embeddings", "pooling": "cls", "threadsHttp": 3,
                "nGpuLayers": 0}  # fmt: skip
    assert process_of("llamacpp", URL | settings, [], []) == Process(
        variables={
            "LLAMA_ARG_MODEL": "a.gguf", "LLAMA_ARG_CTX_SIZE": "4096", "LLAMA_ARG_N_PARALLEL": "2", "LLAMA_ARG_EMBEDDINGS": "1",
            "LLAMA_ARG_POOLING": "cls", "LLAMA_ARG_THREADS_HTTP": "3", "LLAMA_ARG_N_GPU_LAYERS": "0",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "command", "reason"),
    [
        ("huggingface", {}, ["x"], "model.command: the managed image takes no command line"),
        ("llamacpp", URL | {"modelPath": "a"}, ["x"], "model.command: llamacpp takes no command line"),
        (
            "llamacpp",
            URL | {"modelPath": "a", "mmprojModelPath": "b"},
            [],
            "model.image.llamacpp.mmprojModelPath: models that read",
        ),
        (
            "llamacpp",
            URL | {"modelPath": "a", "mode": "reranking", "pooling": "mean"},
            [],
            "model.image.llamacpp.pooling: mean is of embeddings",
        ),
        ("tgiNeuron", URL, [], "model.image: tgiNeuron needs a backend that runs containers"),
        (
            "custom",
            {"url": "docker.io/me/mine"},
            [],
            "model.image.custom.url: names a container, and this backend runs processes",
        ),
        ("custom", URL, [], "model.command: a process needs one"),
        (
            "custom",
            URL | {"credentials": {"username": "me"}},
            ["x"],
            "model.image.custom.credentials: a process needs none",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(
    kind: str, settings: dict[str, Any], command: list[str], reason: str
) -> None:
    with pytest.raises(Invalid, match=re.escape(reason)):
        process_of(kind, settings, command, [])
