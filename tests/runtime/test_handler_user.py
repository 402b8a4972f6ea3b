"""A handler as another user, which is what root has where bubblewrap is not: it works, and what that user cannot do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import inlet
from tests.runtime.handlers import BAD, repository, wheel
from tests.runtime.process import Replica

CUSTOM = "custom"
SECRET = "what only the server knows"


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user can look into, with a copy of the package."""
    with tempfile.TemporaryDirectory(prefix="inlet-open-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(
            Path(inlet.__file__).parent, folder / "inlet", ignore=shutil.ignore_patterns("__pycache__")
        )
        yield folder


def runs_for_others(python: Path) -> bool:
    command = [
        "setpriv",
        "--reuid",
        "61200",
        "--regid",
        "61200",
        "--clear-groups",
        "env",
        str(python),
        "-I",
        "-c",
        "",
    ]
    return not subprocess.run(command, cwd="/", stderr=subprocess.DEVNULL, timeout=60, check=False).returncode


def python_for_all(folder: Path) -> Path:
    """An interpreter that another user can run: this one, or a copy with as little as is needed."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can choose another user, with setpriv")
    python = Path(sys.executable)
    if not runs_for_others(python):
        library, pip = Path(sysconfig.get_path("stdlib")), importlib.util.find_spec("pip")
        copy = folder / "python" / library.relative_to(sys.base_prefix)
        large = shutil.ignore_patterns(
            "site-packages", "dist-packages", "test", "config-*", "ensurepip", "idlelib"
        )
        shutil.copytree(library, copy, ignore=large)
        python = folder / "python" / "bin" / "python3"
        python.parent.mkdir()
        shutil.copy(Path(sys.executable).resolve(), python)
        assert pip is not None
        assert pip.origin is not None
        shutil.copytree(Path(pip.origin).parent, copy / "site-packages" / "pip")
        if not runs_for_others(python):
            pytest.skip("this interpreter does not run elsewhere")
    return python


def environment(folder: Path, **more: str) -> dict[str, str]:
    """In which there is no bubblewrap, and the package is the folder's."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("setpriv", "env"):
        (programs / name).symlink_to(shutil.which(name) or name)
    packages = [str(folder), *site.getsitepackages()]
    return {"PATH": str(programs), "PYTHONPATH": ":".join(packages), "PYTHONDONTWRITEBYTECODE": "1", **more}


def test_as_another_user_it_sees_no_secrets_and_changes_nothing(open_to_all: Path, tmp_path: Path) -> None:
    python = python_for_all(open_to_all)
    model = repository(open_to_all / "model", BAD)
    wheel(model, "greeting", "word = 'hello'")
    (model / "requirements.txt").write_text("./greeting-1.0-py3-none-any.whl\n")
    home = open_to_all / "home"
    home.mkdir(mode=0o700)
    (home / "secret").write_text(SECRET)
    cache = open_to_all / "cache"
    with Replica(
        tmp_path,
        model,
        CUSTOM,
        "--cache",
        str(cache),
        env=environment(open_to_all, INLET_HOME=str(home), INLET_SECRET=SECRET),
        python=python,
    ) as replica:
        told = replica.ready().http.get("/info").json()["sandbox"]
        assert "user" in told["enforced"], told
        who = replica.ask({"inputs": "who"})
        assert 61_200 <= who["uid"] < 61_700
        assert (int(who["capabilities"], 16), who["no_new_privs"]) == (0, "1")
        for path in (home / "secret", "/etc/shadow", f"/proc/{replica.process.pid}/environ", replica.log):
            assert replica.ask({"inputs": "reads", "path": str(path)}) == "PermissionError"
        assert replica.ask({"inputs": "lists", "path": str(home)}) == "PermissionError"
        own = replica.ask({"inputs": "environment"})
        (packages,) = (path for path in (cache / "environments").iterdir() if path.is_dir())
        (installed,) = packages.rglob("greeting.py")
        paths = [model / "x", installed, packages / "finished", packages / "x", Path(own["HOME"]) / "x"]
        written = replica.ask({"inputs": "writes", "paths": list(map(str, paths))})
        assert written == [str(paths[-1])]
        assert replica.ask({"inputs": "signals", "pid": replica.process.pid}) == "PermissionError"


def test_another_user_who_cannot_run_the_interpreter_is_not_claimed(
    open_to_all: Path, tmp_path: Path
) -> None:
    """As where it lies in root's own folder: `setpriv` can start it, and nothing that it starts could do so again."""
    python = python_for_all(open_to_all)
    private = open_to_all / "private"
    private.mkdir(mode=0o700)
    (private / "python").symlink_to(python)
    model = repository(open_to_all / "model", BAD)
    with Replica(tmp_path, model, CUSTOM, env=environment(open_to_all), python=private / "python") as replica:
        told = replica.ready().http.get("/info").json()["sandbox"]
        assert "another user cannot run it" in told["missing"]["user"]
        assert replica.ask({"inputs": "who"})["uid"] == 0
