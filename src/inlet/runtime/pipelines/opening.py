"""From a folder to the program of a worker that computes with torch and transformers. Called by `loader` in a thread.

Imports neither. Python files of the repository are run only where the endpoint asks for it and the server allows it, and then in
the sandbox of handlers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import inlet
from inlet.core.errors import Refused
from inlet.core.trust import ALLOW_CODE, REMOTE_CODE
from inlet.runtime import memory
from inlet.runtime.handler import sandbox
from inlet.runtime.options import Options
from inlet.runtime.pipelines.questions import PipelineInterpreter
from inlet.runtime.pipelines.tasks import canonical, sample
from inlet.runtime.worker.program import CHILD, Limits, Program, Watch

_PROGRAM = Path(__file__).with_name("child") / "program.py"
_log = logging.getLogger(__name__)


def open_pipeline(folder: Path, config: Mapping[str, Any], options: Options, reason: str) -> Program:
    """What runs the model. `reason`: why it is computed in this way. `Refused` says what a person must do."""
    task = canonical(options.task)
    own_code = "auto_map" in config and options.trust.remote_code
    if own_code and not options.trust.code:
        raise Refused(
            f"the model is to be opened with Python files of its repository ({REMOTE_CODE}=1), and no code from repositories is "
            f"run here ({ALLOW_CODE}=0); without the former it opens if transformers itself knows its architecture",
            field="model",
        )
    env = {
        **options.child_env,
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    data = None if options.memory is None else max(0, options.memory - memory.own())
    command = [sys.executable, "-P", str(CHILD)]
    repository, described = str(folder), _described(config, reason)
    close: Callable[[], None] = _nothing
    watch: Watch | None = None
    if own_code:
        packages = Path(inlet.__file__).parent.parent
        box = sandbox.make(folder, options.trust.confinement, env, options.trust.reach, [packages])
        command = box.command(*command, readable=[packages])
        env, repository, close = dict(box.env), box.repository, box.close
        watch, described["sandbox"] = box.writable, box.described(data)
    first = sample(task)
    return Program(
        name="pipeline",
        command=command,
        file=str(_PROGRAM),
        settings={
            "folder": repository,
            "task": task,
            "threads": options.threads,
            "trust_remote_code": own_code,
            "sample": {
                "inputs": first.inputs,
                "parameters": dict(first.parameters),
                "blobs": [blob.hex() for blob in first.blobs],
            },
        },
        env=env,
        folder=folder,
        seconds=options.handler.seconds,
        interpreter=PipelineInterpreter(task, described),
        limits=Limits(data=data),
        watch=watch,
        close=close,
    )


def _described(config: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {
        "architecture": config.get("model_type"),
        "engine": "torch",
        "variant": "torch",
        "reason": reason,
        "settled": True,
    }


def _nothing() -> None:
    """What there is to undo where there is no sandbox."""
