"""llama.cpp's server in a process of its own, on a Unix socket: `python -m inlet.runtime.generation.llama`.

Started by `opening` below `foreign/`, so that whatever happens in native code leaves the replica standing. The only module
that imports xllamacpp.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import xllamacpp

from inlet.process import EX_CONFIG
from inlet.runtime.generation.settings import Mode

_WARNINGS = 2  # and worse; the next level has eight lines for each request
_LONGEST_SILENCE_S = 15  # of an answer in pieces; then a comment says that it goes on


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve until killed; exit status 78 when the model cannot be loaded, after llama.cpp has said why."""
    parser = argparse.ArgumentParser(prog="python -m inlet.runtime.generation.llama")
    parser.add_argument("--model", required=True, help="GGUF file, or the first part of one")
    parser.add_argument("--alias", required=True, help="what the model is called in answers")
    parser.add_argument("--socket", required=True, help="Unix socket to listen on")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--threads-http", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens, of all requests together")
    parser.add_argument("--parallel", type=int, required=True, help="requests that are computed at once")
    parser.add_argument("--prompts", type=int, required=True, help="MiB for prompts that are kept")
    parser.add_argument("--mode", type=Mode, default=Mode.GENERATION)
    parser.add_argument("--pooling")
    try:
        _server = xllamacpp.Server(_parameters(parser.parse_args(arguments)))
    except RuntimeError:  # llama.cpp has written the reason
        sys.exit(EX_CONFIG)
    while True:  # it serves in threads of its own, for as long as it is held
        signal.pause()


def _parameters(given: argparse.Namespace) -> Any:
    wanted = xllamacpp.CommonParams()
    wanted.model.path = given.model
    wanted.model_alias = {given.alias}
    wanted.hostnames = [given.socket]
    wanted.n_threads_http = given.threads_http
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = given.threads
    wanted.n_ctx, wanted.n_parallel, wanted.kv_unified = given.context, given.parallel, False
    wanted.cache_ram_mib = given.prompts
    wanted.verbosity = _WARNINGS
    wanted.fit_params = False  # the context was planned; what does not fit shall fail
    wanted.n_gpu_layers = 0
    wanted.sse_ping_interval = _LONGEST_SILENCE_S
    wanted.ui, wanted.endpoint_slots, wanted.endpoint_metrics = False, True, False
    wanted.offline = True
    if given.mode is not Mode.GENERATION:
        wanted.embedding = True
        # What is embedded is computed in one batch.
        wanted.n_batch = wanted.n_ubatch = given.context // given.parallel
    if given.mode is Mode.RERANKING:
        wanted.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    elif given.pooling:
        wanted.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{given.pooling.upper()}"]
    return wanted


if __name__ == "__main__":
    main(sys.argv[1:])
