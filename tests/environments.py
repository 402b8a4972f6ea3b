"""Environments for programs that must not share ours: made once, kept below .venvs between runs.

Used by `reference` (transformers), and by the end-to-end and the documentation's tests (official clients).
"""

from __future__ import annotations

import fcntl
import subprocess
import venv
from pathlib import Path

VENVS = Path(__file__).resolve().parents[1] / ".venvs"


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment with exactly these packages and what they need."""
    folder = VENVS / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(packages)
    VENVS.mkdir(exist_ok=True)
    with (VENVS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not stamp.exists() or stamp.read_text() != wanted:
            venv.create(folder, with_pip=True, clear=True, symlinks=True)
            # Byte code is made for what is imported, and not for the thousands of modules that never are.
            install = [python, "-m", "pip", "install", "--quiet", "--no-compile", *packages]
            subprocess.run(install, check=True)
            stamp.write_text(wanted)
    return python
