"""How a replica is started: its command line and its environment. Called by `replica.py`.

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

_INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "HF_ENDPOINT", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one replica finds its things. `vcpus` is what it really gets."""

    replica_id: str
    socket: Path
    cache: Path
    termination_log: Path
    notify: Path
    vcpus: float


Command = Callable[[Launch, Placement], Sequence[str]]


def runtime_command(launch: Launch, placement: Placement) -> list[str]:
    """The command line of `inlet.runtime`."""
    commit = [] if launch.commit is None else ["--commit", launch.commit]
    return [
        sys.executable, "-m", "inlet.runtime",
        "--model", launch.location, *commit,
        "--task", launch.task,
        "--socket", str(placement.socket),
        "--vcpus", f"{placement.vcpus:g}",
        "--cache", str(placement.cache),
        "--termination-log", str(placement.termination_log),
    ]  # fmt: skip


def environment(
    launch: Launch, placement: Placement, server: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """A clean base, then the endpoint's own variables, then what the backend alone decides."""
    threads = str(
        max(1, math.ceil(placement.vcpus))
    )  # libraries count the machine's cores, not the replica's share
    return {
        **{name: server[name] for name in _INHERITED if name in server},
        **dict.fromkeys(_THREADS, threads),
        "PYTHONUNBUFFERED": "1",
        **launch.env,
        "NOTIFY_SOCKET": str(placement.notify),
        "INLET_REPLICA_ID": placement.replica_id,
    }
