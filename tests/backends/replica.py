"""A replica without a model: obeys the contract between backend and replica, and misbehaves when its environment says so.

`REPLICA_DOES` names what it does instead of serving; `/crash`, `/silent`, `/say/TEXT` and `/env/NAME` act on one that
serves. `DRAIN_S` is how long it takes to drain.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
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


class Replica:
    def __init__(self, does: str) -> None:
        self.state = "initializing"
        self.silent = asyncio.Event()
        self.does = does

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        path = line.split()[1]
        if path == "/crash":
            os._exit(3)
        if path == "/silent":
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
        await asyncio.sleep(float(os.environ.get("DRAIN_S", "0.05")))
        server.close()


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
