"""Custom handlers that mean harm, or just end badly: what they cannot do to the replica, to its callers and to the machine."""

from __future__ import annotations

import errno
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from inlet.core.errors import Refused
from inlet.runtime.handler.egress import Egress, is_public
from inlet.runtime.handler.seccomp import MACHINES, REFUSED
from inlet.runtime.loader import load
from inlet.runtime.options import parse
from inlet.runtime.worker.program import CHILD
from tests.runtime.handlers import BAD, repository
from tests.runtime.process import Replica, eventually

CUSTOM = "custom"
ENDED = ", while it worked on this request; it is started again"
SECRET = "what only the server knows"


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("bad")
    env = {"INLET_SECRET": SECRET, "MINE": "my own"}
    with Replica(
        folder, repository(folder / "model", BAD), CUSTOM, "--memory", "900000000", env=env
    ) as replica:
        yield replica.ready()


def fine(replica: Replica) -> bool:
    return replica.ask({"inputs": "fine"}) == "fine"


def outcome(replica: Replica, inputs: str, **more: Any) -> tuple[int, str]:
    answer = replica.post({"inputs": inputs, **more})
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("inputs", "status", "error"),
    [
        ("leave", 500, "the handler ended with code 3"),
        ("stop", 500, "the program failed: SystemExit: I stop"),
        ("crash", 500, "the handler was ended by SIGSEGV"),
        ("killed", 500, "the handler was killed (signal 9)"),
        ("allocate", 500, "out of memory: choose a larger instance, or send less in one request"),
        ("garbage", 500, "the handler sent a head of 4294967295 bytes, and was ended"),
        ("endless", 400, "the result holds itself, or is nested too deeply"),
        ("million", 400, "Type is not JSON serializable: object"),
    ],
)  # fmt: skip
def test_its_end_costs_one_request(bad: Replica, inputs: str, status: int, error: str) -> None:
    assert outcome(bad, inputs) in ((status, error), (status, error + ENDED))
    assert fine(bad)


def test_one_that_hangs_is_ended_and_those_that_wait_are_served(tmp_path: Path) -> None:
    answers: list[tuple[int, str]] = []
    env = {"INLET_HANDLER_TIMEOUT": "2"}
    with Replica(tmp_path, repository(tmp_path / "model", BAD), CUSTOM, env=env) as replica:
        hangs = threading.Thread(target=lambda: answers.append(outcome(replica, "hang")))
        replica.ready()
        hangs.start()
        eventually(lambda: "handler | hangs" in replica.log.read_text() or answers)
        refused = replica.post({"inputs": "fine"}, **{"x-inlet-timeout": "0.01"})
        assert refused.status_code in (429, 503), refused.text
        eventually(lambda: replica.post({"inputs": "fine"}).status_code == 200)
        hangs.join()
        assert answers == [(504, "the handler took longer than 2 s with this request")]


def test_megabytes_of_output_go_by_and_long_lines_are_cut(bad: Replica) -> None:
    assert bad.ask({"inputs": "prints"}) is None
    eventually(lambda: "handler | printed\n" in bad.log.read_text())
    assert max(map(len, bad.log.read_text().splitlines())) < 10_000
    assert bad.log.stat().st_size > 5_000_000
    with bad.log.open("wb"):  # which is long enough now for those who read it when something fails
        pass


def test_a_request_that_finds_it_dead_is_answered_by_the_next(bad: Replica) -> None:
    for _ in range(3):
        assert fine(bad)
        below = psutil.Process(bad.process.pid).children(recursive=True)
        (*_, itself) = (process for process in below if str(CHILD) in process.cmdline())
        itself.kill()
        assert fine(bad)
        assert not itself.is_running() or itself.status() == psutil.STATUS_ZOMBIE


def marked(mark: str) -> list[int]:
    return [
        process.pid for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("confinement", ["best-effort", "off"])
def test_processes_that_it_leaves_behind_go_with_it(tmp_path: Path, confinement: str) -> None:
    mark = f"{os.getpid()}{int(confinement == 'off')}.5"  # seconds, for `sleep`
    with Replica(
        tmp_path, repository(tmp_path / "model", BAD), CUSTOM, env={"INLET_SANDBOX": confinement}
    ) as replica:
        status, _ = outcome(replica.ready(), "leaves_children", mark=mark)
        assert status == 500
        assert fine(replica)
        eventually(lambda: not marked(mark))
        replica.process.kill()  # and it goes with the replica
        replica.process.wait()
        made = replica.log.read_text().rpartition("made by ")[2].split()[0]
        if confinement == "off":
            eventually(
                lambda: not psutil.pid_exists(int(made)) or psutil.Process(int(made)).status() == "zombie"
            )


# What bubblewrap enforces


@pytest.fixture(scope="module")
def confined(bad: Replica) -> Replica:
    missing = bad.http.get("/info").json()["sandbox"]["missing"]
    if "files" in missing:
        pytest.skip(f"not to be had here: {missing}")
    return bad


def test_it_sees_nothing_of_the_server(confined: Replica, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    for path in (str(tmp_path / "secret"), str(confined.log), "/etc/shadow", f"/proc/{os.getpid()}/environ"):
        assert confined.ask({"inputs": "reads", "path": path}) in ("FileNotFoundError", "PermissionError")
    assert confined.ask({"inputs": "lists", "path": str(tmp_path)}) == "FileNotFoundError"
    prefix = Path(sys.prefix)  # which it needs, wherever this checkout lies
    leading_there = [prefix.parts[2]] if prefix.is_relative_to("/tmp") else []
    assert confined.ask({"inputs": "lists", "path": "/tmp"}) == leading_there
    assert SECRET not in confined.ask({"inputs": "reads", "path": "/proc/1/environ"})
    environment = confined.ask({"inputs": "environment"})
    assert environment["MINE"] == "my own"
    assert not [name for name in environment if name.startswith("INLET_") or name == "NOTIFY_SOCKET"]


def test_it_has_no_rights_and_no_company(confined: Replica) -> None:
    who = confined.ask({"inputs": "who"})
    assert (who["uid"], int(who["capabilities"], 16), who["no_new_privs"]) == (1000, 0, "1")
    assert len(who["pids"]) <= 4


def test_it_writes_to_its_own_places_only(confined: Replica) -> None:
    paths = ["/repository/x", "/etc/x", "/usr/x", "/x", sys.prefix + "/x", "/tmp/written", "/home/handler/x"]
    assert confined.ask({"inputs": "writes", "paths": paths}) == ["/tmp/written", "/home/handler/x"]


def test_it_changes_nothing_of_the_kernel_and_takes_little_shared_memory(confined: Replica) -> None:
    assert confined.ask({"inputs": "kernel"}) == []
    assert confined.ask({"inputs": "shares"}) == errno.ENOSPC


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="the numbers of its calls are not known")
def test_calls_that_reach_around_the_sandbox_are_refused(confined: Replica) -> None:
    machine = MACHINES[platform.machine()]
    refused = {name: numbers[machine.column] for name, numbers in REFUSED.items()}
    calls = {name: [number, *[-1] * 6] for name, number in refused.items() if number is not None}
    assert confined.ask({"inputs": "calls", "calls": calls}) == dict.fromkeys(calls, errno.EPERM)
    new_user = 0x1000_0000  # CLONE_NEWUSER
    others = {
        "clone": [machine.clone, new_user | signal.SIGCHLD, 0, 0, 0, 0],
        "clone3": [435, 0, 0],
        "vsock": [machine.socket, socket.AF_VSOCK, socket.SOCK_STREAM, 0],
        "packet": [machine.socket, socket.AF_PACKET, socket.SOCK_RAW, 0],
        "crypto": [machine.socket, socket.AF_ALG, socket.SOCK_SEQPACKET, 0],
        "internet": [machine.socket, socket.AF_INET, socket.SOCK_STREAM, 0],
    }
    assert confined.ask({"inputs": "calls", "calls": others}) == {
        "clone": errno.EPERM, "clone3": errno.ENOSYS, "vsock": errno.EAFNOSUPPORT, "packet": errno.EAFNOSUPPORT,
        "crypto": errno.EAFNOSUPPORT, "internet": 0,
    }  # fmt: skip
    assert "system calls" in confined.http.get("/info").json()["sandbox"]["enforced"]


class Local(BaseHTTPRequestHandler):
    """A server in this machine's own network, which no handler should reach."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def local() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Local) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_no_repository_is_too_large_for_the_sandbox(confined: Replica, tmp_path: Path) -> None:
    """As the Hub's client leaves it: links to files beside the folder. Where there are more than flags can name, all are there."""
    download = tmp_path / "models--org--name"
    snapshot, blobs = download / "snapshots" / ("0" * 40), download / "blobs"
    (snapshot / "sub").mkdir(parents=True)
    blobs.mkdir()
    (blobs / "handler").write_text(BAD)
    (blobs / "text").write_text("a text")
    (tmp_path / "elsewhere").write_text(SECRET)
    (snapshot / "handler.py").symlink_to("../../blobs/handler")
    (snapshot / "out").symlink_to(tmp_path / "elsewhere")
    for number in range(4_000):
        (snapshot / "sub" / f"{number}.txt").symlink_to("../../../blobs/text")
    with Replica(tmp_path, snapshot, CUSTOM) as replica:
        assert not {"files", "network"}.intersection(
            replica.ready().http.get("/info").json()["sandbox"]["missing"]
        )
        assert replica.ask({"inputs": "reads", "path": "/repository/sub/3999.txt"}) == "a text"
        assert replica.ask({"inputs": "reads", "path": "/repository/out"}) == "FileNotFoundError"


def test_it_reaches_nothing_private(confined: Replica, local: int) -> None:
    for host, port in (("127.0.0.1", local), ("169.254.169.254", 80)):
        assert confined.ask({"inputs": "connects", "host": host, "port": port}) != "connected"
        status, text = confined.ask({"inputs": "asks", "url": f"http://{host}:{port}/a"})
        assert (status, "not a public address" in text) == (403, True)


def proxied(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(request)
        return b"".join(iter(partial(client.recv, 65_536), b""))


def test_the_way_out_leads_where_the_server_allows_it(tmp_path: Path, local: int) -> None:
    out = tmp_path / "out"
    egress = Egress(out, {f"localhost:{local}"})
    asked = f"GET http://localhost:{local}/a?b HTTP/1.1\r\nHost: x\r\nProxy-Authorization: y\r\n\r\n".encode()
    assert proxied(out, asked).endswith(b"/a?b")
    tunnel = f"CONNECT localhost:{local} HTTP/1.1\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(out))
        client.sendall(tunnel)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /inside HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(partial(client.recv, 65_536), b"")).endswith(b"/inside")
    for target in (
        f"127.0.0.1:{local}",
        "localhost:1",
        f"[::1]:{local}",
        f"[::ffff:127.0.0.1]:{local}",
        f"0:{local}",
    ):
        assert proxied(out, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403")
    for broken in (
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\n\r\n",
        b"CONNECT a:b HTTP/1.1\r\n\r\n",
    ):
        assert proxied(out, broken)[:10] in (b"HTTP/1.1 5", b"HTTP/1.1 4")
    egress.close()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
     "2002:7f00:1::", "::7f00:1", "fec0::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"],
)  # fmt: skip
def test_private_addresses_are_told_in_every_spelling(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert all(map(is_public, ("1.1.1.1", "2606:4700::1111", "64:ff9b::101:101")))


# Where bubblewrap cannot be had


def test_without_a_sandbox_it_is_said_and_may_be_refused(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", BAD)
    bare = {"PATH": str(tmp_path)}
    with Replica(tmp_path, model, CUSTOM, "--memory", "900000000", env=bare) as replica:
        told = replica.ready().http.get("/info").json()["sandbox"]
        assert "memory" in told["enforced"]
        assert told["missing"]["network"] == "bubblewrap is not installed"
        assert (
            "WARNING the handler runs without protection of files, network, processes"
            in replica.log.read_text()
        )
        assert SECRET not in replica.ask({"inputs": "environment"}).values()
        assert replica.ask({"inputs": "who"})["no_new_privs"] == "1"
        assert outcome(replica, "allocate")[0] == 500
    arguments = ["--model", str(model), "--task", CUSTOM, "--port", "0"]
    environ = {"INLET_SANDBOX": "require"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(Refused, match=r"INLET_SANDBOX=require.*bubblewrap is not installed"):
            load(parse(arguments, environ), lambda *_: None)
