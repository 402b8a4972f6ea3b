"""The command line of bubblewrap for a handler: what is in sight, and nothing else. Pure but for looking at names. Called by `sandbox`.

A few read-only folders of the system, the interpreter, the repository at `/repository`, an own home and `/tmp`, and one socket
out. Everything that is not named here is not there: the server's home, other replicas' sockets, most of `/etc`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from inlet.runtime.worker.program import CHILD

REPOSITORY = "/repository"  # where the managed service has it as well
_BLOBS = "/blobs"  # what is beside the parent of a snapshot, seen from there
OWN = Path(__file__).with_name("child")
_HOME, _TMP, _OUT, _PORT = "/home/handler", "/tmp", "/run/out.sock", 3128  # noqa: S108 - in the sandbox
# Of /dev/shm, as containers have it: what is in it is memory that no limit of a process counts.
_SHARED_BYTES = 64 << 20
_NAMESPACES = ("user", "pid", "net", "ipc", "uts")
# Of /etc what programs look at, without what is secret there: the files' real owner may read all of it.
_ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem",
    "protocols", "services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf",
)  # fmt: skip


def before(folder: Path, *, home: Path, tmp: Path, out: Path) -> list[str]:
    """The flags up to those for further folders. `home` and `tmp` can be written to; `out` is the socket of `egress`."""
    return [
        *(f"--unshare-{name}" for name in _NAMESPACES), "--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL",
        "--uid", "1000", "--gid", "1000", "--hostname", "inlet", *_system(),
        # Read-only: the kernel's settings below it ask who the real user is, and not for the rights that were dropped.
        "--proc", "/proc", "--remount-ro", "/proc",
        "--dev", "/dev", "--size", str(_SHARED_BYTES), "--tmpfs", "/dev/shm",  # noqa: S108 - in the sandbox
        "--bind", str(tmp), _TMP, "--bind", str(home), _HOME, "--ro-bind", str(out), _OUT,
        *bound(_interpreter()), *bound([CHILD, OWN]), *_repository(folder),
    ]  # fmt: skip


def after(launcher: Sequence[str]) -> list[str]:
    """The last flags, and what the command is started by: `launcher`, and what makes the way out usable."""
    return [
        "--remount-ro", "/", "--chdir", _HOME, *launcher, sys.executable, "-P", str(OWN / "forward.py"), _OUT, str(_PORT),
    ]  # fmt: skip


def environment(env: Mapping[str, str], reach: Collection[str]) -> dict[str, str]:
    """The same variables, and where things are inside."""
    proxy = f"http://127.0.0.1:{_PORT}"
    # The sandbox's own loopback, but for names by which something outside is to be reached.
    own = [name for name in ("localhost", "127.0.0.1") if not any(to.startswith(f"{name}:") for to in reach)]
    return {
        **env,
        "HOME": _HOME,
        "TMPDIR": _TMP,
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(own)),
    }


def bound(paths: Iterable[Path], how: str = "--ro-bind") -> list[str]:
    """The flags for folders at their own paths."""
    return [part for path in paths for part in (how, str(path), str(path))]


def _system() -> list[str]:
    """The operating system's programs and libraries."""
    flags = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            flags += bound([path])
    return [*flags, *bound((Path("/etc") / name for name in _ETC), "--ro-bind-try")]


def _interpreter() -> list[Path]:
    """Where this interpreter and its packages are, as far as the system's folders do not have them."""
    real = Path(sys.executable).resolve().parent.parent
    wanted = [Path(sys.base_prefix), Path(sys.base_exec_prefix), real, Path(sys.prefix)]
    return [path for path in dict.fromkeys(wanted) if not path.is_relative_to("/usr") and path != Path("/")]


def _repository(folder: Path) -> list[str]:
    """The model's files. A download of the Hub's is links like `../../blobs/…`, so its blobs are where these lead then.

    No other link leads out of the folder: what it points to is not there. However many files there are, the flags are few:
    bubblewrap takes thousands of them at most, and a repository must not be able to do without the sandbox by its size.
    """
    download = folder.parent.parent
    blobs = download / "blobs"
    linked = download.name.startswith("models--") and folder.parent.name == "snapshots" and blobs.is_dir()
    return ["--ro-bind", str(folder), REPOSITORY, *(["--ro-bind", str(blobs), _BLOBS] if linked else [])]
