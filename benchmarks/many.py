"""Several models on one endpoint: how many of RoBERTa-base's size fit, and what it costs to switch. `python -m benchmarks.many`.

One replica with a budget lists more copies of the model, each with files of its own, than can fit. They are asked in turn, so that
every request after the first ones evicts the least recently used model and loads another: from the page cache, or from the disk
after its pages were dropped. Every answer is checked. The copies take half a gigabyte of disk each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from tests.runtime.process import Replica

from benchmarks.model import make

_TASK = "text-classification"
_BODY = {"inputs": "banana " * 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", type=float, default=4e9, help="bytes that the replica may use")
    parser.add_argument("--models", type=int, default=8, help="how many are listed; more than fit")
    parser.add_argument("--switches", type=int, default=8, help="of each kind")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inlet") as name:
        folder = Path(name)
        names = [f"m{number}" for number in range(flags.models)]
        make(folder / names[0])
        for other in names[1:]:
            shutil.copytree(folder / names[0], folder / other)
        listed = [{"repository": str(folder / name), "task": _TASK} for name in names]
        env = {"INLET_SERVE_MODELS": json.dumps(listed), "INLET_PRECISION": flags.precision}
        options = ("--memory", f"{flags.memory:.0f}")
        with Replica(folder, folder / names[0], _TASK, *options, env=env) as replica:
            show(measured(replica.ready(), folder, names, flags.switches), flags)


def measured(replica: Replica, folder: Path, names: list[str], switches: int) -> dict[str, Any]:
    """How many fit, the process's peak in bytes, and the milliseconds of each kind of request."""
    process, expected = psutil.Process(replica.process.pid), replica.ask(_BODY)
    peak = 0

    def ask(name: str) -> float:
        nonlocal peak
        begin = time.perf_counter()
        answer = replica.ask(_BODY | {"model_id": name})
        milliseconds = (time.perf_counter() - begin) * 1000
        if answer != expected:
            raise SystemExit(f"not the answer: {answer}")
        peak = max(peak, process.memory_full_info().uss)
        return milliseconds

    fit = 0
    for name in names:
        ask(name)
        fit = max(fit, sum(row["state"] == "ready" for row in rows(replica)))
    if fit == len(names):
        raise SystemExit("all of them fit: list more with --models")
    found: dict[str, list[float]] = {"loaded": [], "switch, page cache": [], "switch, disk": []}
    for number in range(2 * switches):
        name, from_disk = names[number % len(names)], bool(number % 2)
        if from_disk:
            forget(folder / name / "model.safetensors")
        found["switch, disk" if from_disk else "switch, page cache"].append(ask(name))
        found["loaded"].append(ask(name))
    sizes = [row["memory_bytes"] for row in rows(replica) if row["measured"]]
    return {"fit": fit, "peak": peak, "size": statistics.median(sizes), "milliseconds": found}


def rows(replica: Replica) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = replica.http.get("/models").json()["models"]
    return listed


def forget(path: Path) -> None:
    """Drop the file from the page cache; nobody maps it."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def show(found: dict[str, Any], flags: argparse.Namespace) -> None:
    print(
        f"{found['fit']} models in {flags.precision} fit into {flags.memory / 1e9:.1f} GB: {found['size'] / 1e6:.0f} MB each when "
        f"loaded, the process at most {found['peak'] / 1e9:.2f} GB"
    )
    print(f"{'ms of a request':22} {'median':>8} {'least':>8} {'most':>8}")
    for kind, times in found["milliseconds"].items():
        print(f"{kind:22} {statistics.median(times):8.0f} {min(times):8.0f} {max(times):8.0f}")


if __name__ == "__main__":
    main()
