"""What of this machine a handler can see and do: as little as can be enforced here, which is found out by trying. Called by `opening`.

    bubblewrap    namespaces of its own: a few read-only folders, no network but `egress`, no other processes, no rights
    another user  where this process is root, and that user can read the model
    nothing       but limits, which the child puts on itself

With each of them goes a filter of system calls, where the kernel takes it. `/info` says what holds and why the rest does not. Must
never run anything of a repository to find out.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.core.trust import SANDBOX, Confinement
from inlet.runtime.handler import bubblewrap, seccomp
from inlet.runtime.handler.disk import Folders
from inlet.runtime.handler.egress import Egress
from inlet.runtime.scratch import Scratch
from inlet.runtime.worker.program import CHILD

FILES, NETWORK, PROCESSES, USER, CALLS = "files", "network", "processes", "user", "system calls"
_ALL = (FILES, NETWORK, PROCESSES, USER, CALLS)
DISK, MEMORY = "disk", "memory"  # bounded beside it
_SAID = (*_ALL, DISK, MEMORY)
_USERS = range(61_200, 61_700)  # numbers that distributions give to nobody
_TRIED_WITHIN_S = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`repository`: where the handler finds its folder. `missing`: what is not enforced, by its word, and why.

    `env` says where things are in it, `scratch` outside of it. A command stands behind `before`, its folders' flags and `after`;
    it runs as `user`, a number, where that is another one.
    """

    repository: str
    env: Mapping[str, str]
    missing: Mapping[str, str]
    scratch: Scratch
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    egress: Egress | None = None
    user: int | None = None

    @property
    def writable(self) -> Folders:
        """Where what runs in it may write, and in bubblewrap nowhere else on the disk."""
        return Folders([self.scratch.path / "home", self.scratch.path / "tmp"])

    def described(self, data: int | None) -> dict[str, Any]:
        """For `/info`: what is enforced, in words, and what is not, with the reasons. `data`: bytes that its process may ask for."""
        missing = dict(self.missing)
        if FILES in missing:  # it can write elsewhere than where that is watched
            missing[DISK] = missing[FILES]
        if data is None:
            missing[MEMORY] = "no limit was given"
        return {"enforced": [word for word in _SAID if word not in missing], "missing": missing}

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

    def take_back(self, path: Path) -> None:
        """Take the folder, or the link itself, from whoever runs there."""
        if self.user is not None:
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)

    def close(self) -> None:
        """End it, and remove what was written in it."""
        if self.egress is not None:
            self.egress.close()
        self.scratch.close()


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
        found = _bubblewrap(folder, env, plain, reach)
    except _Impossible as error:
        found = replace(plain, missing=dict.fromkeys(_ALL, str(error)))
    if not found.missing:
        return found
    if wanted is Confinement.REQUIRE:
        found.close()
        raise Refused(
            f"code from the repository must run in a sandbox ({SANDBOX}=require), which cannot be had here: {_reasons(found)}"
        )
    if found.egress is None:
        found = _without_bubblewrap(plain, _reasons(found), needed)
    _log.warning("the handler runs without protection of %s: %s", ", ".join(found.missing), _reasons(found))
    return found


def _reasons(sandbox: Sandbox) -> str:
    return "; ".join(dict.fromkeys(sandbox.missing.values()))


class _Impossible(Exception):
    """A kind of sandbox that cannot be had here; `str()` says why."""


def _plain(folder: Path, env: Mapping[str, str]) -> Sandbox:
    """None at all, with its own folders."""
    scratch = Scratch("handler")
    places = {"HOME": scratch.path / "home", "TMPDIR": scratch.path / "tmp"}
    for place in places.values():
        place.mkdir()
    inside = {**env, **{name: str(place) for name, place in places.items()}}
    return Sandbox(str(folder), inside, dict.fromkeys(_ALL, f"{SANDBOX} is off"), scratch)


def _bubblewrap(folder: Path, env: Mapping[str, str], plain: Sandbox, reach: Collection[str]) -> Sandbox:
    program = shutil.which("bwrap")
    if program is None:
        raise _Impossible("bubblewrap is not installed")
    scratch = plain.scratch.path
    out = scratch / "out.sock"
    try:
        egress = Egress(out, reach)
    except OSError as error:  # the temporary folder's path is too long for a socket
        raise _Impossible(f"no way out of it can be made: {error}") from error
    flags = bubblewrap.before(folder, home=scratch / "home", tmp=scratch / "tmp", out=out)
    found = replace(
        plain,
        repository=bubblewrap.REPOSITORY,
        env=bubblewrap.environment(env, reach),
        missing={},
        egress=egress,
    )

    def candidates(launcher: Sequence[str]) -> list[Sandbox]:
        # Kernels and bubblewraps that know it let nothing inside make namespaces, whose code is where kernels are attacked.
        return [
            replace(found, before=[program, *strict, *flags], after=bubblewrap.after(launcher))
            for strict in (["--disable-userns"], [])
        ]

    try:
        return _best(candidates)
    except _Impossible as error:
        egress.close()
        raise _Impossible(f"bubblewrap does not work here: {error}") from error


def _without_bubblewrap(plain: Sandbox, reason: str, needed: Sequence[Path]) -> Sandbox:
    """Another user if that can be, and the filter. `reason`: why the rest cannot be had."""
    missing = dict.fromkeys((FILES, NETWORK, PROCESSES), reason)
    try:
        return _other_user(replace(plain, missing=missing), needed)
    except _Impossible as error:
        left = replace(plain, missing={**missing, USER: str(error)})
    return _best(lambda launcher: [replace(left, before=launcher)])


def _other_user(plain: Sandbox, needed: Sequence[Path]) -> Sandbox:
    program = shutil.which("setpriv")
    if os.geteuid() != 0 or program is None:
        raise _Impossible("only root can choose another user" if program else "setpriv is not installed")
    user = _USERS[os.getpid() % len(_USERS)]  # most likely another one for each replica
    # setpriv looks for its command with root's rights still: not so for `env`, which that user must find what it runs with.
    before = [program, "--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs", "env"]
    try:
        found = _best(lambda launcher: [replace(plain, before=[*before, *launcher], user=user)], needed)
    except _Impossible as error:
        raise _Impossible(f"another user cannot run it: {error}") from error
    plain.scratch.path.chmod(0o711)
    for name in ("home", "tmp"):
        found.own(plain.scratch.path / name)
    return found


def _best(candidates: Callable[[Sequence[str]], Sequence[Sandbox]], needed: Sequence[Path] = ()) -> Sandbox:
    """The first that works of those whose commands a filter of system calls starts, else of those without one.

    `_Impossible` says why the last of them does not.
    """
    machine = platform.machine()
    filtered = seccomp.program(machine)
    reason = f"the numbers of system calls on {machine} are not known"
    if filtered is not None:
        # Nothing in the environment has a say in how this is started (-I), and no package (-S).
        launcher = [sys.executable, "-I", "-S", str(bubblewrap.OWN / "filtered.py"), filtered.hex()]
        for candidate in candidates(launcher):
            if (why := _tried(candidate, needed)) is None:
                return candidate
            reason = why
    last = reason
    for candidate in candidates([]):
        if (why := _tried(candidate, needed)) is None:
            return replace(candidate, missing={**candidate.missing, CALLS: reason})
        last = why
    raise _Impossible(last)


def _tried(sandbox: Sandbox, needed: Sequence[Path]) -> str | None:
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
