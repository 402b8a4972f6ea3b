"""How a replica is started: its command line and its environment. Called by `replica.py`, and for spares by `pool.py`.

The command is what `docs/design/seams.md` says under "Backend and replica". Secrets go into the environment only, and
nothing of the server's own environment reaches a replica unless it is named here.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inlet.backends.base import Launch
from inlet.backends.local.keeper import ID_ROOM, ID_VARIABLE
from inlet.backends.processes import Process, process_of
from inlet.core.computing import PRECISION
from inlet.core.trust import imposed

_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    PRECISION, "HF_ENDPOINT", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")
_FIXED = {
    "PYTHONUNBUFFERED": "1",
    # It makes its threads when numpy is imported, and what is computed in numpy here is too small for more than one.
    "OPENBLAS_NUM_THREADS": "1",
}
# Beginnings of the variables that the loader, the C library, the interpreter and what a spare imports read once and for
# all, before a spare knows whose process it is. `_THREADS` are not among them: those are read at the first use.
_READ_AT_START = (
    "LD_", "GLIBC_", "GCONV_", "MALLOC_", "LANG", "LC_", "LOCPATH", "TZ", "PYTHON", "OPENSSL_",
    "OPENBLAS_", "GOTO_", "NPY_", "NUMPY_", "NVPL_", "KMP_", "TBB_", "INTEL_", "OPENVINO_", "OV_", "ONEDNN_", "DNNL_",
    "TOKENIZERS_", "RUST_", "PROMETHEUS_", "prometheus_", "UV_",
)  # fmt: skip
_RUNTIME = (sys.executable, "-m", "inlet.runtime")
# -P: it does not start in its replica's folder, and must import nothing from wherever else it does.
SPARE = (sys.executable, "-P", "-m", "inlet.runtime.spare")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one replica finds its things. `vcpus` and `memory` (bytes) are what it really gets."""

    replica_id: str
    socket: Path
    cache: Path
    termination_log: Path
    notify: Path
    vcpus: float
    memory: int
    artifacts: Path | None = None


Command = Callable[[Launch, Placement], Sequence[str]]


def runtime_command(launch: Launch, placement: Placement) -> list[str]:
    """The command line of `inlet.runtime`; `Invalid` if the image can only run in a container."""
    process = _process(launch)
    port = [] if process.port is None else ["--program-port", str(process.port)]
    program = ["--health-route", process.health_route, *port, "--", *process.words] if process.words else []
    commit = [] if launch.commit is None else ["--commit", launch.commit]
    artifacts = [] if placement.artifacts is None else ["--artifacts", str(placement.artifacts)]
    return [
        *_RUNTIME,
        "--model", launch.location, *commit,
        "--task", launch.task,
        "--socket", str(placement.socket),
        "--vcpus", f"{placement.vcpus:g}",
        "--memory", str(placement.memory),
        "--cache", str(placement.cache), *artifacts,
        "--termination-log", str(placement.termination_log),
        *program,
    ]  # fmt: skip


def environment(
    launch: Launch, placement: Placement, server: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """A clean base, then the endpoint's own variables, then what the backend alone decides."""
    threads = str(
        max(1, math.ceil(placement.vcpus))
    )  # libraries count the machine's cores, not the replica's share
    return {
        **_base(server),
        **dict.fromkeys(_THREADS, threads),
        **_process(launch).variables,
        **launch.env,
        **imposed(server, launch.env),
        "NOTIFY_SOCKET": str(placement.notify),
        ID_VARIABLE: placement.replica_id,
    }


def spare_environment(notify: Path, server: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The part of it that is known before there is an endpoint: no secrets, and room for the replica's id."""
    return {**_base(server), "NOTIFY_SOCKET": str(notify), ID_VARIABLE: " " * ID_ROOM}


def can_be_spare(command: Sequence[str], env: Mapping[str, str], spare_env: Mapping[str, str]) -> bool:
    """Whether a spare, started with `spare_env`, can become this process as if it had been started for it."""
    runtime = tuple(command[: len(_RUNTIME)]) == _RUNTIME
    return runtime and _read_at_start(env) == _read_at_start(spare_env)


def _process(launch: Launch) -> Process:
    return process_of(launch.image_kind, launch.image_settings, launch.command, launch.args)


def _base(server: Mapping[str, str]) -> dict[str, str]:
    return {**{name: server[name] for name in _INHERITED if name in server}, **_FIXED}


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}
