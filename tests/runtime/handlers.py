"""Repositories with a handler, for the tests: one that does all that a good one may, and one that does what no handler should."""

from __future__ import annotations

import zipfile
from pathlib import Path

GOOD = """
import asyncio, dataclasses, datetime, time
import numpy as np
from sibling import double


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Teapot(Exception):
    status_code = 418


class EndpointHandler:
    def __init__(self, path=""):
        self.path = path

    def __call__(self, data):
        inputs = data.pop("inputs", data)
        if isinstance(inputs, bytes):
            return {"bytes": len(inputs), "parameters": data.get("parameters")}
        return getattr(self, inputs)(data) if isinstance(inputs, str) else {"inputs": inputs, **data}

    def doubled(self, data):
        return double(data["n"])

    def values(self, data):
        return {
            "array": np.array([[1, 2], [3, 4]], dtype=np.float32)[:, ::-1], "scalar": np.float16(0.5), "nan": [float("nan"), np.inf],
            "point": Point(1, float("nan")), "day": datetime.date(2026, 1, 2), "bytes": b"ab", "tuple": (1, None),
        }

    def nothing(self, data):
        return None

    def raw(self, data):
        return b"\\x00\\x01"

    def wav(self, data):
        return b"RIFF", "audio/wav"

    def a_set(self, data):
        return {"a", "b"}

    def words(self, data):
        yield from ("one ", "two")

    def tokens(self, data):
        yield {"token": 1}
        yield {"token": 2}

    def cut(self, data):
        yield {"token": 1}
        raise ValueError("no more")

    def torn(self, data):
        yield "one "
        raise ValueError("no more")

    def empty(self, data):
        yield from ()

    async def later(self, data):
        await asyncio.sleep(0)
        return "later"

    async def forever(self, data):
        print("forever begins")
        try:
            await asyncio.sleep(3600)
        finally:
            print("forever was cancelled")

    async def slowly(self, data):
        for n in range(3):
            await asyncio.sleep(0)
            yield {"n": n}

    def endless(self, data):
        try:
            while True:
                yield b"x" * 65536
        finally:
            print("endless was closed")

    def own_loop(self, data):
        return asyncio.run(self.later(data))

    def fails(self, data):
        raise ValueError("that is wrong")

    def key(self, data):
        return data["missing"]

    def teapot(self, data):
        raise Teapot("short and stout")
"""

BAD = """
import ctypes, http.client, os, socket, subprocess, sys, time


class EndpointHandler:
    def __init__(self, path=""):
        print("made by", os.getpid(), flush=True)

    def __call__(self, data):
        return getattr(self, data["inputs"])(data)

    def fine(self, data):
        return "fine"

    def hang(self, data):
        print("hangs")
        time.sleep(3600)

    def leave(self, data):
        os._exit(3)

    def stop(self, data):
        sys.exit("I stop")

    def crash(self, data):
        ctypes.string_at(0)

    def killed(self, data):
        os.kill(os.getpid(), 9)

    def allocate(self, data):
        held = []
        while True:
            held.append(bytearray(20_000_000))

    def garbage(self, data):
        for descriptor in os.listdir("/proc/self/fd"):
            where = "/proc/self/fd/" + descriptor
            if os.path.lexists(where) and os.readlink(where).startswith("socket:"):
                os.write(int(descriptor), b"\\xff" * 100)
        time.sleep(3600)

    def leaves_children(self, data):
        subprocess.Popen(["setsid", "sleep", data["mark"]])
        subprocess.Popen(["sleep", data["mark"]])
        os._exit(0)

    def prints(self, data):
        for n in range(100):
            sys.stdout.write("x" * 50_000)
        print()
        print("printed")

    def environment(self, data):
        return dict(os.environ)

    def reads(self, data):
        try:
            with open(data["path"], "rb") as file:
                return file.read().decode(errors="replace")
        except OSError as error:
            return type(error).__name__

    def lists(self, data):
        try:
            return os.listdir(data["path"])
        except OSError as error:
            return type(error).__name__

    def writes(self, data):
        written = []
        for path in data["paths"]:
            try:
                with open(path, "w") as file:
                    file.write("x")
                written.append(path)
            except OSError:
                pass
        return written

    def kernel(self, data):
        opened = []
        for folder in ("/proc/sys", "/proc/pressure", "/proc/irq", "/proc/bus", "/sys"):
            for parent, _, names in os.walk(folder):
                for name in names:
                    try:
                        os.close(os.open(os.path.join(parent, name), os.O_WRONLY | os.O_NONBLOCK))
                        opened.append(os.path.join(parent, name))
                    except OSError:
                        pass
        return opened

    def shares(self, data):
        try:
            with open("/dev/shm/x", "wb") as file:
                for _ in range(200):
                    file.write(bytes(1_000_000))
            return "written"
        except OSError as error:
            return error.errno
        finally:
            os.unlink("/dev/shm/x")

    def connects(self, data):
        try:
            socket.create_connection((data["host"], data["port"]), timeout=5).close()
            return "connected"
        except OSError as error:
            return type(error).__name__

    def asks(self, data):
        proxy = http.client.HTTPConnection("127.0.0.1", 3128, timeout=30)
        proxy.request("GET", data["url"])
        answer = proxy.getresponse()
        return [answer.status, answer.read().decode()]

    def who(self, data):
        with open("/proc/self/status") as file:
            status = dict(line.rstrip().split(":", 1) for line in file if ":" in line)
        return {"uid": os.getuid(), "pids": [n for n in os.listdir("/proc") if n.isdigit()],
                "capabilities": status["CapEff"].strip(), "no_new_privs": status["NoNewPrivs"].strip()}

    def calls(self, data):
        libc = ctypes.CDLL(None, use_errno=True)
        errors = {}
        for name, words in data["calls"].items():
            ctypes.set_errno(0)
            libc.syscall(*map(ctypes.c_long, words))
            errors[name] = ctypes.get_errno()
        return errors

    def signals(self, data):
        try:
            os.kill(data["pid"], 0)
            return "allowed"
        except OSError as error:
            return type(error).__name__

    def endless(self, data):
        held = []
        held.append(held)
        return held

    def million(self, data):
        return {"a": object()}
"""

SIBLING = "def double(n):\n    return 2 * n\n"


def repository(folder: Path, handler: str, **files: str) -> Path:
    """A folder with that handler; names of further files without their `.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(handler)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def wheel(path: Path, name: str, text: str) -> None:
    """A package with one module, as an installer takes it."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
