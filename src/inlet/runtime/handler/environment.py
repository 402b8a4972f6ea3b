"""The packages that a repository's `requirements.txt` asks for, in an environment of its own. Called by `opening` in a thread.

Made once for the same file, the same Python and the same settings of the installer, below the cache, and shared by all replicas
that ask for it: nothing else of an endpoint may have a say in what is installed, and where files of a repository may have one
the environment is this repository's own. One that was not finished is made again, and what nobody uses any more goes (`prune`).
The installer runs in the sandbox: what it installs may bring code that runs meanwhile. Unless an endpoint wants none of them, the
server's own packages stand behind those that are installed, as in the stock container; what is there and fits is not installed again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import site
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from inlet.core.errors import Refused, Unavailable
from inlet.runtime import locks
from inlet.runtime.handler.prune import FINISHED, LOCK, prune
from inlet.runtime.handler.sandbox import Sandbox
from inlet.runtime.options import Options

REQUIREMENTS = "requirements.txt"
_LAST_LINES = 5  # of the installer, which say why it failed
_LONGEST_PROGRESS = 120  # characters
_TRANSIENT = ("Temporary failure", "timed out", "Connection", "No space left", "Max retries", "HTTP error 5")
_COMMENT = re.compile(r"(^|\s)#.*")
_NAME = re.compile(r"[\w.-]+")
_READ_OTHERWISE = re.compile(r"[^\t\r\n -~]|coding[:=]")  # by which a file may say that it is no ASCII
_BY_PLACE = frozenset("/@\\$")  # what a line has that says where something is
_VALUE = re.compile(r"https?://\S+|\d+|yes|no|true|false", re.IGNORECASE)  # of a setting that names no file
# What the installer gets of the environment, beside its own settings. Those of certificates decide whom it believes.
_PLAIN = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "PYTHONUNBUFFERED",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_TELLING = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE")


def parent(options: Options) -> Path:
    """The folder of all environments, which is there afterwards."""
    cache = Path.home() / ".cache" / "inlet" if options.cache is None else options.cache
    folder = cache / "environments"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(folder: Path, options: Options, sandbox: Sandbox, report: Callable[[str], None]) -> Path:
    """The environment's folder, which is kept until this process ends.

    `Refused` with the installer's last lines, `Unavailable` if it may work another time.
    """
    environments = parent(options)
    target = environments / _key(folder, options)
    finished = target / FINISHED
    with locks.turn(
        target.with_suffix(LOCK), report, "waiting for another replica that installs the same packages"
    ):
        # Held at once: nobody else removes or makes it during this turn.
        if not locks.use(finished):
            shutil.rmtree(target, ignore_errors=True)
            report("making an environment for the handler")
            _make(target, inherits=not options.handler.isolated)
            try:
                _install(target, sandbox, report)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
            finished.touch()
            locks.use(finished)
            prune(environments)
    return target


def _key(folder: Path, options: Options) -> str:
    text = (folder / REQUIREMENTS).read_bytes().decode("latin-1")  # which tells all files apart
    settings = sorted((name, value) for name, value in options.child_env.items() if name.startswith(_TELLING))
    parts = [text, sys.version, sys.prefix, options.handler.isolated, settings]
    if may_name_files(text, [value for _, value in settings], {path.name for path in folder.iterdir()}):
        parts += [str(folder), sorted(_states(folder))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def may_name_files(requirements: str, settings: Iterable[str], names: Collection[str]) -> bool:
    """Whether what is installed may depend on files of the repository, and so be this repository's only.

    `settings`: values of the installer's. `names`: what there is in the repository's folder.
    """
    if _READ_OTHERWISE.search(requirements):
        return True
    if not all(_VALUE.fullmatch(part) for value in settings for part in value.split()):
        return True
    lines = [_COMMENT.sub("", line).strip() for line in requirements.splitlines()]
    return any(
        line.startswith("-")
        or not _BY_PLACE.isdisjoint(line)
        or ((named := _NAME.match(line)) is not None and named[0] in names)
        for line in lines
    )


def _states(folder: Path) -> Iterator[tuple[str, int, int]]:
    """What tells one state of the repository's files from another."""
    for path in folder.rglob("*"):
        if path.is_file():
            found = path.stat()
            yield path.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns


def _make(target: Path, *, inherits: bool) -> None:
    # An installer of its own takes seconds to unpack.
    with_pip = not inherits or importlib.util.find_spec("pip") is None
    try:
        venv.create(target, symlinks=True, with_pip=with_pip)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"an environment for the handler's packages cannot be made: {error}") from error
    if inherits:
        (packages,) = target.glob("lib/python*/site-packages")
        (packages / "server.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))


def _install(target: Path, sandbox: Sandbox, report: Callable[[str], None]) -> None:
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            sandbox.own(path)
    python = str(target / "bin" / "python")
    # Relative paths in the file are meant from its folder, in which nothing must be taken for the installer (-P).
    command = sandbox.command(
        "env", "-C", sandbox.repository, python, "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--no-cache-dir", "--progress-bar", "off", "-r", REQUIREMENTS, writable=[target],
    )  # fmt: skip
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        env={
            name: value for name, value in sandbox.env.items() if name in _PLAIN or name.startswith(_TELLING)
        },
        cwd=sandbox.scratch.path / "home",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            for line in process.stdout:
                text = line.decode(errors="replace").strip()
                last.append(text)
                report(f"installing the handler's packages: {text[:_LONGEST_PROGRESS]}")
            code = process.wait()
        finally:
            process.kill()
    if code == 0:
        for path in (target, *target.rglob("*")):
            sandbox.take_back(path)  # other endpoints use it, and none may change it
        return
    words = " / ".join(line for line in last if line)
    failure = Unavailable if any(sign in words for sign in _TRANSIENT) else Refused
    raise failure(f"the packages of {REQUIREMENTS} cannot be installed: {words}", field=None)
