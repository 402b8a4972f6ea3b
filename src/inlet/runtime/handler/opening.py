"""From a repository with a handler to the program of a worker. Called by `loader` in a thread.

The border is here: code of the repository runs only where the endpoint and the server allow it, in the sandbox, with
nothing of this process's environment but the endpoint's own variables.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from inlet.core.errors import Refused
from inlet.core.handlers import CLASSES, IGNORED, handler_file
from inlet.core.trust import ALLOW_CODE
from inlet.runtime import memory
from inlet.runtime.handler import environment, sandbox
from inlet.runtime.handler.requests import HandlerInterpreter
from inlet.runtime.options import Options
from inlet.runtime.worker.program import CHILD, Limits, Program

_PROGRAM = Path(__file__).with_name("child") / "program.py"
_log = logging.getLogger(__name__)


def open_handler(folder: Path, options: Options, report: Callable[[str], None]) -> Program:
    """What runs the handler, with the packages that it asks for. `Refused` says what a person must do."""
    file = handler_file({path.name for path in folder.iterdir()})
    if file is None:
        raise Refused("there is no handler.py", field="model")
    if not options.trust.code:
        raise Refused(
            f"the repository has a {file}, and no code from repositories is run here ({ALLOW_CODE}=0); to serve the model "
            f"without it, set {IGNORED}=1 in the endpoint's env",
            field="model",
        )
    wants_packages = (folder / environment.REQUIREMENTS).is_file()
    needed = [environment.parent(options)] if wants_packages else []
    box = sandbox.make(folder, options.trust.confinement, _env(options), options.trust.reach, needed)
    try:
        python, readable = sys.executable, []
        if wants_packages:
            made = environment.made(folder, options, box, report)
            python, readable = str(made / "bin" / "python"), [made]
    except BaseException:
        box.close()
        raise
    data = None if options.memory is None else max(0, options.memory - memory.own())
    protection = box.described(data)
    words = ", ".join(protection["enforced"]) or "nothing"
    _log.info("%s runs in a process of its own, with protection of: %s", file, words)
    described = {
        "model_type": CLASSES[file],
        "engine": "handler",
        "variant": "handler",
        "reason": f"the repository's {file} computes",
        "settled": True,
        "sandbox": protection,
    }
    return Program(
        name="handler",
        command=box.command(python, "-P", str(CHILD), readable=readable),
        file=str(_PROGRAM),
        settings={
            "folder": box.repository,
            "file": file,
            "class": CLASSES[file],
            "error_status": options.handler.error_status,
        },
        env={**box.env, "PATH": f"{Path(python).parent}:{box.env['PATH']}"},
        folder=box.scratch.path / "home",
        seconds=options.handler.seconds,
        interpreter=HandlerInterpreter(described),
        limits=Limits(data=data),
        watch=box.writable,
        close=box.close,
    )


def _env(options: Options) -> dict[str, str]:
    # A print must be in the log when it was made, and a repository is not written to.
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **options.child_env,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
