"""A replica without a model: obeys the contract between backend and replica, and misbehaves when its environment says so.

`REPLICA_DOES` names what it does instead of serving; `/crash`, `/refuse`, `/away`, `/back`, `/silent`, `/garbage`, `/compute`, `/say/TEXT` and
`/env/NAME` act on one that serves. `DRAIN_S` is how long it takes to drain, once there is the file that
`DRAINED_WHEN_THERE_IS` names; then it closes its socket, and ends once there is the one that `ENDS_WHEN_THERE_IS` names.
"""

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


def notify(*fields: str) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        message = "\n".join([f"INLET_REPLICA_ID={os.environ['INLET_REPLICA_ID']}", *fields])
        sender.sendto(message.encode(), os.environ["NOTIFY_SOCKET"])


def eat(megabytes: int) -> bytearray:
    held = bytearray(megabytes << 20)
    for position in range(0, len(held), 4096):
        held[position] = 1
    return held


def multiply() -> None:
    """As many processes as may be, none of which ends by itself."""
    made = 0
    try:
        while os.fork() > 0:
            made += 1
    except BlockingIOError:
        print(f"no more than {made}", flush=True)
    else:
        signal.pause()


def nest() -> None:
    """Into a group of its own below the one that it was put into."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = {controllers: path for _, controllers, path in lines}
    hierarchy = "pids" if "pids" in found else ""
    inner = Path(f"/sys/fs/cgroup/{hierarchy}{found[hierarchy]}") / "inner"
    inner.mkdir()
    (inner / "cgroup.procs").write_text("0")


def wait_for(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.01)


def compute() -> None:
    while True:
        pass


class Replica:
    def __init__(self, does: str) -> None:
        self.state = "initializing"
        self.silent = asyncio.Event()
        self.garbage = does == "garbage"
        self.does = does

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        path = line.split()[1]
        if path == "/crash":
            os._exit(3)
        if path == "/refuse":
            print("The model has no such task", file=sys.stderr, flush=True)
            os._exit(78)
        if self.garbage:
            writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" * 100)
            await writer.drain()
            writer.close()
            return
        if path == "/garbage":
            self.garbage = True
        elif path == "/compute":
            for _ in range(3):
                threading.Thread(target=compute, daemon=True).start()
        elif path == "/away":
            self.state = "initializing"
        elif path == "/back":
            self.state = "ready"
        elif path == "/silent":
            self.silent.set()
        elif self.silent.is_set():
            await asyncio.sleep(3600)
        status, body = 200, "Ok"
        if path == "/health" and self.state != "ready":
            status, body = 503, json.dumps({"error": "not yet", "state": self.state})
        elif path.startswith("/say/"):
            print(path.removeprefix("/say/"))
        elif path.startswith("/env/"):
            body = os.environ.get(path.removeprefix("/env/"), "")
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    async def serve(self, path: str) -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        server = await asyncio.start_unix_server(self.answer, path)
        notify("STATUS=warming up")
        if self.does != "never":
            self.state = "ready"
            notify("READY=1")
        print("serving")
        await stopping.wait()
        if self.does == "stubborn":
            await asyncio.sleep(3600)
        self.state = "terminating"
        notify("STOPPING=1")
        print("draining")
        if "DRAINED_WHEN_THERE_IS" in os.environ:
            await asyncio.to_thread(wait_for, os.environ["DRAINED_WHEN_THERE_IS"])
        await asyncio.sleep(float(os.environ.get("DRAIN_S", "0.05")))
        server.close()
        if "ENDS_WHEN_THERE_IS" in os.environ:
            await asyncio.to_thread(wait_for, os.environ["ENDS_WHEN_THERE_IS"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket")
    parser.add_argument("--termination-log", type=Path)
    flags = parser.parse_args()
    does = os.environ.get("REPLICA_DOES", "serve")
    if does == "crash":
        print("something is wrong with me", file=sys.stderr)
        sys.exit(1)
    if does == "config":
        flags.termination_log.write_text("The model has no such task")
        sys.exit(78)
    if does == "eat":
        eat(int(os.environ["EAT_MB"]))
    if does == "eat-in-children":
        mine = [sys.executable, __file__]
        env = {**os.environ, "REPLICA_DOES": "eat-and-hold"}
        children = [subprocess.Popen(mine, env=env) for _ in range(3)]
        os.wait()
        sys.exit(f"one of {len(children)} children ended")
    if does == "shrug":  # goes on without the part of it that is killed
        subprocess.Popen([sys.executable, __file__], env={**os.environ, "REPLICA_DOES": "eat-and-hold"})
    if does == "share":  # memory that belongs to no process, which RLIMIT_DATA does not count
        held = mmap.mmap(-1, int(os.environ["EAT_MB"]) << 20)
        for position in range(0, len(held), 4096):
            held[position] = 1
    if does == "wait":  # before it listens
        notify("STATUS=waiting")
        wait_for(os.environ["UNTIL_THERE_IS"])
    if does == "multiply":
        multiply()
    if does == "nest":
        nest()
    if does == "burn-in-children":
        for _ in range(3):
            subprocess.Popen([sys.executable, __file__], env={**os.environ, "REPLICA_DOES": "burn"})
    if does == "eat-and-hold":
        held = eat(int(os.environ["EAT_MB"]))
        time.sleep(60)
        del held
    if does == "burn":
        while True:
            pass
    if does == "chatter":
        for number in range(int(os.environ["LINES"])):
            print(f"line {number} {'x' * 80}")
        print("y" * 50_000)
        print("10 %\r20 %\r100 %")
    if does == "leave-behind":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    asyncio.run(Replica(does).serve(flags.socket))


if __name__ == "__main__":
    main()
