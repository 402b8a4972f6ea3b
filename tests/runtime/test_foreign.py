"""A replica whose model is served by somebody else's program: real processes, real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from inlet.core.errors import Unavailable
from inlet.runtime.foreign import supervisor
from inlet.runtime.foreign.program import Program
from inlet.runtime.foreign.supervisor import Supervisor
from tests.runtime.process import Replica, eventually
from tests.system import has_ended, reserved_port

PROGRAM = Path(__file__).with_name("program.py")
ANSWERS_ONCE = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

with open(sys.argv[2], "a") as starts:
    starts.write("x")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).handle_request()
sys.exit(3)
"""


@contextmanager
def program(
    folder: Path, *words: str, flags: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Iterator[Replica]:
    """A replica in front of the test's program, whose folder is `folder`/p. It is not waited for."""
    home = folder / "p"
    home.mkdir()
    command = [sys.executable, str(PROGRAM), "--folder", str(home), *words]
    ready = ("--health-route", "/ready")
    with Replica(folder, home, "custom", *ready, *flags, "--", *command, env=env) as replica:
        yield replica


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Replica]:
    with program(tmp_path, "--port", "{port}") as replica:
        (tmp_path / "p" / "healthy").touch()
        yield replica.ready()


def child(replica: Replica) -> psutil.Process:
    return psutil.Process(replica.http.get("/who").json()["pid"])


def test_it_is_ready_when_its_program_is(tmp_path: Path) -> None:
    with program(tmp_path, "--socket", "{socket}") as replica:
        told = "p was started; its health route /ready answers 503"
        eventually(lambda: any(told.split(";")[1] in line for line in replica.notifications()))
        assert replica.http.get("/health").status_code == 503
        (tmp_path / "p" / "healthy").touch()
        replica.ready()
        assert {"one line", "and another"} <= set(replica.log.read_text().splitlines())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_requests_and_answers_pass_as_they_are(served: Replica, method: str) -> None:
    answer = served.http.request(
        method,
        "/some%20place/ä?a=1&b=%2F",
        content=b"" if method == "GET" else b"content",
        headers={"x-mine": "1", "connection": "x-private", "x-private": "1", "content-type": "text/odd"},
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/x-seen"
    assert answer.headers["x-own"] == "yes"
    assert "keep-alive" not in answer.headers
    seen = answer.json()
    assert (seen["method"], seen["path"], seen["query"]) == (method, "/some%20place/%C3%A4", "a=1&b=%2F")
    assert seen["body"] == ("" if method == "GET" else "content")
    headers = dict(seen["headers"])
    assert headers["x-mine"] == "1"
    assert headers["content-type"] == "text/odd"
    assert "x-private" not in headers


def test_what_no_header_and_no_address_should_have(served: Replica) -> None:
    answer = served.http.get("/a", headers={"x-mine": "ä".encode()})
    assert dict(answer.json()["headers"])["x-mine"] == "ä"
    assert (b"x-odd", "ä".encode()) in answer.headers.raw
    answer = served.http.get("/" + "%ff" * 10_000)  # longer once it says how what it stands for is written
    assert answer.status_code == 400
    assert "Traceback" not in served.log.read_text()


def test_it_knows_where_to_listen_and_where_the_model_is(served: Replica, tmp_path: Path) -> None:
    environment = served.http.get("/").text  # the replica's own
    assert environment == "Ok"
    environment = served.post({}).json()["environment"]
    assert environment["HF_MODEL_DIR"] == str(tmp_path / "p")
    assert int(environment["PORT"]) > 0
    assert not {"INLET_PARENT_PID", "NOTIFY_SOCKET"}.intersection(environment)


def test_health_and_metrics_stay_the_replicas_own(served: Replica) -> None:
    assert served.http.get("/health").text == "Ok"
    assert "inlet_replica_requests" in served.http.get("/metrics").text
    assert served.http.post("/health").status_code == 201
    assert served.http.get("/info").status_code == 201


def test_pieces_come_as_they_are_made(served: Replica, tmp_path: Path) -> None:
    with served.http.stream("POST", "/pieces", content=b"first\nsecond\n") as answer:
        pieces = answer.iter_raw()
        assert next(pieces).startswith(b"first")  # long before the end, which nobody has allowed yet
        (tmp_path / "p" / "go-on").touch()
        assert b"".join(pieces).endswith(b"the end")


def test_who_leaves_is_missed_at_the_program(served: Replica, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(served.socket))
        caller.sendall(b"GET /forever HTTP/1.1\r\nhost: a\r\n\r\n")
        eventually((tmp_path / "p" / "asked").exists)
    eventually((tmp_path / "p" / "left").exists)


def test_a_program_that_dies_is_replaced_and_only_open_requests_notice(served: Replica) -> None:
    before = child(served)
    answer = served.http.get("/die")
    assert answer.status_code == 502
    assert "ended or broke off" in answer.json()["error"]
    eventually(lambda: "starting it again" in served.log.read_text())
    assert has_ended(before)
    after = served.http.get("/who")  # waits until it is back
    assert after.status_code == 201
    assert after.json()["pid"] != before.pid
    assert "ended with code 3; its last words:" in served.log.read_text()
    assert "I was told to" in served.log.read_text()


def test_who_cannot_wait_for_it_is_told(served: Replica, tmp_path: Path) -> None:
    (tmp_path / "p" / "healthy").unlink()  # so that it does not come back
    served.http.get("/die")
    eventually(lambda: served.http.get("/health").status_code == 503)
    assert served.http.get("/health").json()["state"] == "initializing"
    assert "ended with code 3" in served.http.get("/health").json()["error"]
    eventually(lambda: any("starting it again" in told for told in served.notifications()))
    answer = served.http.get("/who", headers={"x-inlet-timeout": "0.1"})
    assert answer.status_code == 503
    assert "is being started again" in answer.json()["error"]
    (tmp_path / "p" / "healthy").touch()
    assert served.http.get("/who").status_code == 201
    assert served.http.get("/health").text == "Ok"


def test_one_that_says_that_no_restart_helps_ends_the_replica(served: Replica, tmp_path: Path) -> None:
    (tmp_path / "p" / "refuses").touch()
    served.http.get("/die")
    assert served.ended() == 1, "the next replica may find out whether it is so from the beginning"
    reason = served.termination_log.read_text()
    assert reason.endswith("ended with code 78; its last words: I will not; it says that no restart helps")


async def test_one_that_never_stays_up_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE_S", 0.01)
    starts, told = tmp_path / "starts", list[str]()
    kept = Supervisor(Program((sys.executable, "-c", ANSWERS_ONCE, "{port}", str(starts))))
    await kept.start(told.append)
    async with asyncio.timeout(60):
        reason = await kept.given_up()
    assert starts.read_text() == "x" * 5
    assert "ended with code 3" in reason
    assert "failure 5 in a row" in reason
    assert kept.trouble is not None
    with pytest.raises(Unavailable, match="failure 5 in a row"):
        await kept.run(asyncio.get_running_loop().time() + 60)
    assert sum("is back" in text for text in told) == 4
    kept.close()


def test_it_comes_back_when_its_folder_was_cleared_away(tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    with program(tmp_path, "--socket", "{socket}", env={"TMPDIR": str(temporary)}) as replica:
        (tmp_path / "p" / "healthy").touch()
        before = child(replica.ready())
        [folder] = temporary.glob("inlet-run-*")
        shutil.rmtree(folder)
        before.kill()
        eventually(lambda: "starting it again" in replica.log.read_text())
        assert child(replica).pid != before.pid


def test_it_dies_with_the_replica(served: Replica) -> None:
    process = child(served)
    served.process.kill()
    eventually(lambda: has_ended(process))


def test_a_port_and_a_folder_for_a_program_itself(tmp_path: Path) -> None:
    words = ("--port", "{port}", "--own", "{other_port} {private}/inside {other_port}")
    with program(tmp_path, *words, env={"TMPDIR": str(tmp_path)}) as replica:
        (tmp_path / "p" / "healthy").touch()
        seen = replica.ready().post({}).json()
        port, inside, again = seen["own"].split()
        assert port == again != seen["environment"]["PORT"]
        assert int(port) > 0
        assert Path(inside).parent.parent == tmp_path
        assert Path(inside).parent.is_dir()


def test_what_a_killed_replica_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    for name in ("t", "a", "b", "c"):
        (tmp_path / name).mkdir()

    @contextmanager
    def on_socket(name: str) -> Iterator[Replica]:
        with program(tmp_path / name, "--socket", "{socket}", env={"TMPDIR": str(temporary)}) as replica:
            (tmp_path / name / "p" / "healthy").touch()
            yield replica.ready()

    def folders() -> set[Path]:
        return set(temporary.glob("inlet-run-*"))

    with on_socket("a") as first:
        [left] = folders()
        with on_socket("b") as second:
            [used] = folders() - {left}
            first.process.kill()
            first.process.wait()
            assert left in folders()
            with on_socket("c") as third:
                assert left not in folders()
                assert len(folders()) == 2
                assert second.http.get("/who").status_code == 201
                third.terminate()
                assert third.ended() == 0
            assert folders() == {used}


def test_a_drain_finishes_what_is_open(served: Replica, tmp_path: Path) -> None:
    process = child(served)
    with served.http.stream("POST", "/pieces", content=b"first\n") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        served.terminate()
        eventually(lambda: "STOPPING=1" in served.notifications())
        (tmp_path / "p" / "go-on").touch()
        assert b"".join(pieces) == b"the end"
    assert served.ended() == 0
    eventually(lambda: has_ended(process))


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("no-such-program",), 78, "there is no program 'no-such-program' on this machine; install it"),
        (("vllm", "serve"), 78, "on PATH: pip install vllm"),
        (("/dev/null",), 78, "null ended with code 126; its last words: /dev/null: Permission denied"),
        (
            (sys.executable, "-c", "print('not', 'today'); exit(4)"),
            1,
            "ended with code 4; its last words: not today",
        ),
        ((sys.executable, "-c", "exit(78)"), 78, "ended with code 78 and said nothing"),
    ],
)
def test_a_start_that_fails_says_why(tmp_path: Path, words: tuple[str, ...], code: int, reason: str) -> None:
    with Replica(tmp_path, tmp_path, "", "--", *words) as replica:
        assert replica.ended() == code
    assert reason in replica.termination_log.read_text()


def test_a_port_of_its_own_is_kept(tmp_path: Path) -> None:
    with reserved_port() as port:
        flags = ("--program-port", str(port))
        with program(tmp_path, "--port", "${PORT}", flags=flags) as replica:
            (tmp_path / "p" / "healthy").touch()
            assert replica.ready().post({}).json()["environment"]["PORT"] == str(port)
