"""What of this machine a handler can see and do: as little as can be enforced here, which is found out by trying. Called by `opening`.

    bubblewrap    namespaces of its own: a few read-only folders, no network but `egress`, no other processes, no rights
    another user  where this process is root, and that user can read the model
    nothing       but limits, which the child puts on itself

`/info` says what holds and why the rest does not. Must never run anything of a repository to find out.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from inlet.core.errors import Refused
from inlet.core.trust import SANDBOX, Confinement
from inlet.process import lock_file
from inlet.runtime import locks
from inlet.runtime.handler import bubblewrap
from inlet.runtime.handler.egress import Egress
from inlet.runtime.worker.program import CHILD

FILES, NETWORK, PROCESSES, USER = "files", "network", "processes", "user"
_ALL = (FILES, NETWORK, PROCESSES, USER)
_USERS = range(61_200, 61_700)  # numbers that distributions give to nobody
_TRIED_WITHIN_S = 20.0
_PREFIX, _LOCK = "inlet-handler-", "lock"  # of folders in the machine's temporary one
_STALE_S = 60.0  # a younger one may not have been locked yet
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`repository`: where the handler finds its folder. `missing`: what is not enforced, by its word, and why.

    `env` says where things are in it, `scratch` outside of it. A command stands behind `before`, its folders' flags and `after`;
    it runs as `user`, a number, where that is another one. `lock` keeps others from clearing `scratch` away.
    """

    repository: str
    env: Mapping[str, str]
    missing: Mapping[str, str]
    scratch: Path
    lock: int
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    egress: Egress | None = None
    user: int | None = None

    @property
    def enforced(self) -> list[str]:
        """What holds, in words."""
        return [word for word in _ALL if word not in self.missing]

    def command(
        self, *command: str, readable: Sequence[Path] = (), writable: Sequence[Path] = ()
    ) -> list[str]:
        """The command that runs this one inside; further folders are at their own paths."""
        if self.egress is None:  # nothing is out of sight
            return [*self.before, *command]
        folders = [*bubblewrap.bound(readable), *bubblewrap.bound(writable, "--bind")]
        return [*self.before, *folders, *self.after, *command]

    def own(self, path: Path) -> None:
        """Give the folder to whoever runs in the sandbox."""
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def close(self) -> None:
        """End it, and remove what was written in it."""
        if self.egress is not None:
            self.egress.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        with suppress(OSError):  # closed before
            os.close(self.lock)


def make(
    folder: Path, wanted: Confinement, env: Mapping[str, str], reach: Collection[str], needed: Sequence[Path]
) -> Sandbox:
    """The best that works here; `Refused` if the best is required and does not.

    `env`: what the handler may know. `needed`: what another user would have to be able to look into.
    """
    plain = _plain(folder, env)
    if wanted is Confinement.OFF:
        return plain
    try:
        return _bubblewrap(folder, env, plain, reach)
    except _Impossible as error:
        reason = str(error)
    if wanted is Confinement.REQUIRE:
        plain.close()
        raise Refused(
            f"code from the repository must run in a sandbox ({SANDBOX}=require), which cannot be had here: {reason}"
        )
    try:
        found = _other_user(plain, reason, needed)
    except _Impossible as error:
        found = replace(plain, missing={**dict.fromkeys(_ALL, reason), USER: str(error)})
    _log.warning(
        "the handler runs without protection of %s: %s", ", ".join(found.missing), "; ".join(dict.fromkeys(found.missing.values()))
    )  # fmt: skip
    return found


class _Impossible(Exception):
    """A kind of sandbox that cannot be had here; `str()` says why."""


def _plain(folder: Path, env: Mapping[str, str]) -> Sandbox:
    """None at all, with its own folders."""
    _clear_away()
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = lock_file(scratch / _LOCK, within=None)
    assert lock is not None  # noqa: S101 - it is waited for
    places = {"HOME": scratch / "home", "TMPDIR": scratch / "tmp"}
    for place in places.values():
        place.mkdir()
    inside = {**env, **{name: str(place) for name, place in places.items()}}
    return Sandbox(str(folder), inside, dict.fromkeys(_ALL, f"{SANDBOX} is off"), scratch, lock)


def _clear_away() -> None:
    """What replicas left here that were killed: a handler may have downloaded gigabytes."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), locks.unused(lock) as unused:
            found = lock.stat()
            if unused and found.st_uid == os.geteuid() and found.st_mtime < time.time() - _STALE_S:
                shutil.rmtree(lock.parent, ignore_errors=True)


def _bubblewrap(folder: Path, env: Mapping[str, str], plain: Sandbox, reach: Collection[str]) -> Sandbox:
    program = shutil.which("bwrap")
    if program is None:
        raise _Impossible("bubblewrap is not installed")
    scratch, out = plain.scratch, plain.scratch / "out.sock"
    try:
        egress = Egress(out, reach)
    except OSError as error:  # the temporary folder's path is too long for a socket
        raise _Impossible(f"no way out of it can be made: {error}") from error
    before = bubblewrap.before(program, folder, home=scratch / "home", tmp=scratch / "tmp", out=out)
    found = replace(
        plain,
        repository=bubblewrap.REPOSITORY,
        env=bubblewrap.environment(env, reach),
        missing={},
        before=before,
        after=bubblewrap.after(),
        egress=egress,
    )
    # Kernels and bubblewraps that know it let nothing inside make namespaces, whose code is where kernels are attacked.
    strict = replace(found, before=[program, "--disable-userns", *before[1:]])
    for candidate in (strict, found):
        if (reason := _tried(candidate)) is None:
            return candidate
    egress.close()
    raise _Impossible(f"bubblewrap does not work here: {reason}")


def _other_user(plain: Sandbox, reason: str, needed: Sequence[Path]) -> Sandbox:
    program = shutil.which("setpriv")
    if os.geteuid() != 0 or program is None:
        raise _Impossible("only root can choose another user" if program else "setpriv is not installed")
    user = _USERS[os.getpid() % len(_USERS)]  # most likely another one for each replica
    before = [program, "--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs"]
    found = replace(plain, before=before, user=user, missing={word: reason for word in _ALL if word != USER})
    if why := _tried(found, needed):
        raise _Impossible(f"another user cannot run it: {why}")
    plain.scratch.chmod(0o711)
    for name in ("home", "tmp"):
        found.own(plain.scratch / name)
    return found


def _tried(sandbox: Sandbox, needed: Sequence[Path] = ()) -> str | None:
    """Why nothing can be run in it, None if that can be."""
    folders = [sandbox.repository, str(bubblewrap.OWN), *map(str, needed)]
    look = f"import os; open({str(CHILD)!r}).close(); [os.listdir(path) for path in {folders!r}]"
    command = sandbox.command(sys.executable, "-P", "-c", look)
    try:
        done = subprocess.run(
            command, env=dict(sandbox.env), capture_output=True, timeout=_TRIED_WITHIN_S, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it ends with code {done.returncode}"
