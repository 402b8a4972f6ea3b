"""Where a result was taken, and how undisturbed the machine was meanwhile. Used by `rounds`.

Also decides which processors servers and generator get: servers the first two, the generator others if there are any.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from tests.machine import described

SERVER_CORES = 2  # what every system gets, whatever the machine has
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "avx_vnni")
_PACKAGES = ("openvino", "tokenizers", "numpy", "uvloop", "httptools", "uvicorn")
_ROOT = Path(__file__).resolve().parents[1]


def conditions() -> dict[str, Any]:
    """What does not change during a run: machine, versions, the commit that is measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    flags = next((row for row in cpuinfo.splitlines() if row.startswith("flags")), "").split()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        **described(),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "kernel": platform.release(),
        "governor": governor.read_text().strip() if governor.exists() else None,
        "cgroup_cpu": _cgroup_cpu(),
        "threads": {
            name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ
        },
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "server_cores": sorted(server_cores()),
        "generator_cores": sorted(generator_cores()),
    }


class Disturbance:
    """Processor time that others took, from its making on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def as_json(self) -> dict[str, float]:
        """`steal`: share of all processor time that the host gave to others; `load`: of the last minute."""
        now = psutil.cpu_times()
        spent = sum(now) - sum(self._before)
        steal = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return {"steal": round(steal / spent if spent else 0.0, 4), "load": round(os.getloadavg()[0], 2)}


_ALL = frozenset(os.sched_getaffinity(0))


def server_cores() -> frozenset[int]:
    return frozenset(sorted(_ALL)[:SERVER_CORES])


def generator_cores() -> frozenset[int]:
    """Those that servers leave; the same ones where they leave none."""
    return _ALL - server_cores() or _ALL


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """The calling thread, and every process that it starts meanwhile, on these processors."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def pss_mb(processes: list[psutil.Process]) -> float:
    """Memory of these processes, what they share counted once."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6


def drop_page_cache() -> bool:
    """Forget every file that was read; False where only root may."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _cgroup_cpu() -> str | None:
    path = Path("/sys/fs/cgroup/cpu.max")
    return path.read_text().strip() if path.exists() else None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
