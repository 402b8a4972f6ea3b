"""A small machine with a kernel of its own, as an ordinary process: Debian's user-mode Linux over the host's files.

For what the host's kernel is not set up for, such as control groups of version 2. It needs no rights: the kernel is
taken out of the package, which is never installed. The machine sees the host's files read-only, has one CPU and no network, and
runs one command.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".venvs" / "uml"
MEMORY = "3G"  # taken from the host only as far as it is used


@dataclass(frozen=True)
class Done:
    """How the command ended, what it printed, and what the kernel said."""

    status: int
    output: str
    console: str


def run(command: list[str], folder: Path, *, within: float) -> Done:
    """Boot, run the command in the project's folder, power off. Files that it leaves in /mnt appear in `folder`."""
    with _alone():
        kernel, shim = _kernel(), _shim()
    (folder / "command").write_text(f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}\n")
    arguments = [
        str(kernel), f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
        f"init={Path(__file__).with_name('init.sh')}", f"SHARED={folder}", f"PYTHON={sys.executable}",
        "con=null", "con0=null,fd:1", "ssl=null",
    ]  # fmt: skip
    with (folder / "console").open("wb") as console:
        subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=within, check=False,
            env={**os.environ, "LD_PRELOAD": str(shim)},
        )  # fmt: skip
    said = (folder / "console").read_text(errors="replace")
    if not (folder / "status").exists():
        raise AssertionError(f"the machine did not get as far as the command:\n{said[-3000:]}")
    return Done(int((folder / "status").read_text()), (folder / "output").read_text(errors="replace"), said)


@contextmanager
def _alone() -> Iterator[None]:
    """Several test processes may want the same files at once."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kernel() -> Path:
    """The kernel, fetched once and kept between runs; the test is skipped where Debian's packages are out of reach."""
    kernel = KEPT / "linux.uml"
    if not kernel.exists():
        package = _package()
        with (
            subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
            ) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
        ):
            for member in archive:
                if member.name == "./usr/bin/linux.uml":
                    member.name = "linux.new"
                    archive.extract(member, KEPT)
        (KEPT / "linux.new").rename(kernel)
        package.unlink()
    return kernel


def _package() -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs Debian's package user-mode-linux, and this is not Debian")
    fetch = ["apt-get", "download", "user-mode-linux"]
    done = subprocess.run(fetch, cwd=KEPT, capture_output=True, text=True, check=False)
    if done.returncode != 0 and os.getuid() == 0:
        subprocess.run(["apt-get", "update"], capture_output=True, check=False)
        done = subprocess.run(fetch, cwd=KEPT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"Debian's package user-mode-linux cannot be fetched: {done.stderr.strip()[-300:]}")
    return next(KEPT.glob("user-mode-linux_*.deb"))


def _shim() -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, so that the kernel of user-mode-linux can run on newer CPUs")
    shim = KEPT / "xstate.so"
    draft = KEPT / "xstate.new"
    source = Path(__file__).with_name("xstate.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(draft), str(source)], check=True)
    draft.rename(shim)  # another machine may be loading the one that is there
    return shim
