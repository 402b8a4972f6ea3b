"""Processes of ours as a user without rights: as nobody where the tests run as root, else as their own user."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inlet.backends.local import limits
from tests.backends.conftest import Driver

READS = "+dac_read_search"  # nobody may read this interpreter wherever it lies, and still write nothing
AS_NOBODY = (
    (
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        f"--inh-caps={READS}",
        f"--ambient-caps={READS}",
    )
    if os.getuid() == 0
    else ()
)


def why_not_as_nobody() -> str:
    if os.getuid() != 0:
        rung = limits.find_rung(f"inlet-test-of-rights-{os.getpid()}")
        rung.close()
        return "this user may make control groups" if rung.cpu.enforced or rung.memory.enforced else ""
    if shutil.which("setpriv") is None:
        return "root needs setpriv to become nobody"
    nested = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
    done = subprocess.run([*AS_NOBODY, sys.executable, "-c", nested], check=False, capture_output=True)
    return "" if done.returncode == 0 else "nobody cannot be given the right to run this interpreter"


nobody = pytest.mark.skipif(bool(why_not_as_nobody()), reason=why_not_as_nobody() or "-")


def as_nobody(
    driver: Callable[..., Driver], home: Path, does: str, memory_gb: float, *prefix: str, **env: str
) -> Driver:
    """A control without rights, with one replica of one vCPU; `prefix` is run by the caller's user."""
    sets = [
        {"does": does, "name": "e1-r1", "n": 1, "env": env, "instance": {"vcpus": 1, "memory_gb": memory_gb}}
    ]
    return driver(home, "hold", json.dumps(sets), "stop", prefix=(*prefix, *AS_NOBODY))
