"""Custom handlers that mean well: what they get, what callers get of them, and how a repository with one is served."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inlet.core.errors import Invalid, Refused, Unavailable
from inlet.core.handlers import handler_options
from inlet.core.trust import Confinement, imposed, trust_of
from inlet.runtime.handler.environment import may_name_files
from inlet.runtime.handler.prune import prune
from inlet.runtime.loader import load
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import parse
from inlet.runtime.starting import start
from tests.runtime.handlers import GOOD, SIBLING, repository, wheel
from tests.runtime.process import Replica, eventually
from tests.standins.hub import StandinHub

CUSTOM = "custom"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("good")
    with Replica(folder, repository(folder / "model", GOOD, sibling=SIBLING), CUSTOM) as replica:
        yield replica.ready()


@pytest.mark.parametrize(
    ("inputs", "more", "answer"),
    [
        ("doubled", {"n": 21}, 42),
        ({"deep": [1, {"a": None}]}, {"date": "today"}, {"inputs": {"deep": [1, {"a": None}]}, "date": "today"}),
        (
            "values",
            {},
            {
                "array": [[2.0, 1.0], [4.0, 3.0]], "scalar": 0.5, "nan": [None, None], "point": {"x": 1, "y": None},
                "day": "2026-01-02", "bytes": "YWI=", "tuple": [1, None],
            },
        ),
        ("nothing", {}, None),
        ("later", {}, "later"),
        ("own_loop", {}, "later"),
    ],
)  # fmt: skip
def test_a_handler_gets_what_was_sent_and_its_result_is_json(
    good: Replica, inputs: Any, more: dict[str, Any], answer: Any
) -> None:
    assert good.ask({"inputs": inputs, **more}) == answer


def test_bytes_are_sent_as_they_are(good: Replica) -> None:
    raw, wav = good.post({"inputs": "raw"}), good.post({"inputs": "wav"})
    assert (raw.content, raw.headers["content-type"]) == (b"\x00\x01", "application/octet-stream")
    assert (wav.content, wav.headers["content-type"]) == (b"RIFF", "audio/wav")


@pytest.mark.parametrize(
    ("inputs", "kind", "body"),
    [
        ("words", "text/plain; charset=utf-8", b"one two"),
        ("tokens", "text/event-stream", b'data: {"token":1}\n\ndata: {"token":2}\n\n'),
        ("slowly", "text/event-stream", b'data: {"n":0}\n\ndata: {"n":1}\n\ndata: {"n":2}\n\n'),
        ("cut", "text/event-stream", b'data: {"token":1}\n\ndata: {"error":"no more"}\n\n'),
        ("empty", "text/plain", b""),
    ],
)
def test_what_is_yielded_is_streamed(good: Replica, inputs: str, kind: str, body: bytes) -> None:
    answer = good.post({"inputs": inputs})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, body)


def test_a_stream_that_cannot_tell_of_its_failure_breaks_off(good: Replica) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        good.post({"inputs": "torn"})
    assert good.ask({"inputs": "doubled", "n": 1}) == 2


@pytest.mark.parametrize(
    ("inputs", "status", "error"),
    [
        ("fails", 400, "that is wrong"),
        ("key", 400, "'missing'"),
        ("teapot", 418, "short and stout"),
        ("a_set", 400, "Type is not JSON serializable: set"),
        ("unknown", 400, "'EndpointHandler' object has no attribute 'unknown'"),
    ],
)
def test_what_a_handler_raises_is_answered_as_by_the_stock_container(
    good: Replica, inputs: str, status: int, error: str
) -> None:
    answer = good.post({"inputs": inputs})
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("content", "kind", "status", "error"),
    [
        (b'{"text": "a"}', "application/json", 400, "inputs: missing"),
        (b"[1]", "application/json", 400, "the body must be a JSON object"),
        (b"{", "application/json", 400, "the body is not valid JSON"),
        (b"a,b", "text/csv", 415, "content type 'text/csv' is not supported"),
        (b"hello", "", 415, "the body is not JSON"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "application/json", 400, "the body is not valid JSON"),
        (b'{"inputs": ' + b"[" * 1010 + b"]" * 1010 + b"}", "application/json", 400, "the body cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_request_never_reaches_it(
    good: Replica, content: bytes, kind: str, status: int, error: str
) -> None:
    answer = good.http.post("/", content=content, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].startswith(error)


def test_raw_audio_is_bytes_and_the_query_its_parameters(good: Replica) -> None:
    for headers, content in (({"content-type": "audio/x-flac"}, b"abc"), ({}, b"OggS")):
        answer = good.http.post("/?top_k=3&flag=true&name=0.5", content=content, headers=headers)
        assert answer.json() == {
            "bytes": len(content),
            "parameters": {"top_k": 3, "flag": True, "name": "0.5"},
        }


def test_raw_images_need_pillow_in_the_environment(good: Replica) -> None:
    pixel = base64.b64decode("R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs=")
    answer = good.http.post("/", content=pixel, headers={"content-type": "image/gif"})
    assert (answer.status_code, "Pillow" in answer.text) == (415, True)


def test_a_caller_that_leaves_cancels_what_can_be_cancelled(good: Replica) -> None:
    with pytest.raises(httpx.ReadTimeout):
        good.http.post("/", json={"inputs": "forever"}, timeout=httpx.Timeout(60, read=0.5))
    eventually(lambda: "handler | forever was cancelled" in good.log.read_text() or not_begun(good))
    with good.http.stream("POST", "/", json={"inputs": "endless"}) as answer:
        assert next(answer.iter_raw())
    eventually(lambda: "handler | endless was closed" in good.log.read_text())
    assert good.ask({"inputs": "doubled", "n": 1}) == 2


def not_begun(replica: Replica) -> bool:
    """A process that stood still may not have begun before its caller left."""
    return (
        "handler | forever begins" not in replica.log.read_text()
        and replica.ask({"inputs": "later"}) == "later"
    )


def test_the_other_paths_are_there(good: Replica) -> None:
    for path in ("/predict", "/invocations", "/pipeline/custom"):
        assert good.post({"inputs": "doubled", "n": 2}, path).json() == 4
    info = good.http.get("/info").json()
    assert (info["task"], info["engine"]) == (CUSTOM, "handler")
    assert set(info["sandbox"]["enforced"]) | set(info["sandbox"]["missing"]) == {
        "files", "network", "processes", "user", "system calls", "disk", "memory",
    }  # fmt: skip


def test_the_status_of_failures_can_be_500_and_old_names_are_known(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", "")
    (model / "handler.py").rename(model / "pipeline.py")
    (model / "pipeline.py").write_text(
        "class PreTrainedPipeline:\n    def __init__(self, path): pass\n    def __call__(self, data): raise OSError\n"
    )
    with Replica(tmp_path, model, CUSTOM, env={"INLET_HANDLER_ERROR_STATUS": "500"}) as replica:
        answer = replica.ready().post({"inputs": 1})
        assert (answer.status_code, answer.json()) == (500, {"error": "OSError"})


@pytest.mark.parametrize(
    ("handler", "kind", "reason"),
    [
        ("x = (", Refused, "handler.py cannot be imported: SyntaxError"),
        ("x = 1", Refused, "handler.py has no class EndpointHandler"),
        ("raise ValueError('at import')", Unavailable, "at import"),
        ("class EndpointHandler:\n    def __init__(self, path): raise OSError('no weights')", Unavailable,
         "EndpointHandler(…) raised OSError: no weights"),
        ("import os; os._exit(7)", Unavailable, "the handler ended with code 7 before it was ready"),
        ("import os; os.kill(os.getpid(), 11)", Unavailable, "the handler was ended by SIGSEGV before it was ready"),
    ],
)  # fmt: skip
async def test_a_handler_that_cannot_start_says_why(
    tmp_path: Path, handler: str, kind: type[Exception], reason: str
) -> None:
    folder = repository(tmp_path, handler)
    options = parse(["--model", str(folder), "--task", CUSTOM, "--port", "0"], {})
    with pytest.raises(kind) as failed:
        await start(options, Metrics(), lambda *_: None)
    assert reason in str(failed.value)


def test_the_reason_is_where_people_look(tmp_path: Path) -> None:
    with Replica(tmp_path, repository(tmp_path / "model", "import nowhere"), CUSTOM) as replica:
        assert replica.ended() == 78
    reason = "handler.py needs the Python package 'nowhere': name what it is in in"
    assert reason in replica.termination_log.read_text()
    assert "handler | ModuleNotFoundError: No module named 'nowhere'" in replica.log.read_text()


def test_one_that_cannot_be_started_again_ends_the_replica(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", "import os\nclass EndpointHandler:\n"
                       "    def __init__(self, path): pass\n    def __call__(self, data): os._exit(1)\n")  # fmt: skip
    with Replica(tmp_path, model, CUSTOM) as replica:
        replica.ready()
        (model / "handler.py").write_text("import nowhere")
        assert replica.post({"inputs": 1}).status_code == 500
        assert replica.ended() == 1
    assert "handler.py needs the Python package 'nowhere'" in replica.termination_log.read_text()


def test_a_drain_finishes_what_is_in_flight_and_leaves_nothing(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", "import os\nclass EndpointHandler:\n"
                       "    def __init__(self, path): print('home', os.environ['HOME'])\n"
                       "    def __call__(self, data): return 'done'\n")  # fmt: skip
    with Replica(tmp_path, model, CUSTOM, env={"TMPDIR": str(tmp_path), "INLET_SANDBOX": "off"}) as replica:
        with replica.ready().sending() as last:
            replica.terminate()
            eventually(lambda: replica.http.get("/health").status_code == 503)
            last.sendall(b'ts":"a"}')
            assert last.recv(2000).startswith(b"HTTP/1.1 200")
        assert replica.ended() == 0
    assert not list(tmp_path.glob("inlet-handler-*"))


def test_code_can_be_forbidden_and_a_handler_ignored(tmp_path: Path) -> None:
    model = str(repository(tmp_path / "model", GOOD))
    arguments = ["--model", model, "--task", CUSTOM, "--port", "0"]
    with pytest.raises(Refused, match="INLET_ALLOW_CODE=0"):
        load(parse(arguments, {"INLET_ALLOW_CODE": "0"}), lambda *_: None)
    with pytest.raises(Refused, match=r"neither a config\.json"):
        load(parse(arguments, {"IGNORE_CUSTOM_HANDLER": "1"}), lambda *_: None)


def test_a_repository_with_a_handler_is_fetched_as_a_whole(tmp_path: Path) -> None:
    model = repository(tmp_path / "hub" / "org" / "name", GOOD, sibling=SIBLING)
    (model / "data").mkdir()
    (model / "data" / "table.csv").write_text("1")
    with StandinHub(tmp_path / "hub") as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        flags = ["--commit", hub.commit("org/name"), "--cache", str(tmp_path / "cache")]
        with Replica(tmp_path, "org/name", CUSTOM, *flags, env=env) as replica:
            assert replica.ready().ask({"inputs": "doubled", "n": 2}) == 4
    (found,) = (tmp_path / "cache").rglob("table.csv")
    assert found.is_file()


NEEDY = """
import greeting, numpy
class EndpointHandler:
    def __init__(self, path=""): pass
    def __call__(self, data): return [greeting.word, greeting.__file__, numpy.__version__]
"""


def test_requirements_are_installed_once_beside_the_servers_own_packages(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", NEEDY)
    wheel(model, "greeting", "word = 'hello'")
    (model / "pip.py").write_text("raise SystemExit('the repository ran in place of the installer')")
    (model / "requirements.txt").write_text("./greeting-1.0-py3-none-any.whl\nnumpy\n")
    flags = ["--cache", str(tmp_path / "cache")]
    environments = tmp_path / "cache" / "environments"
    (environments / "not-finished").mkdir(parents=True)
    for name, installs in (("first", True), ("second", False)):
        (tmp_path / name).mkdir()
        with Replica(tmp_path / name, model, CUSTOM, *flags) as replica:
            word, file, _ = replica.ready().ask({"inputs": 1})
            assert (word, file.startswith(str(environments))) == ("hello", True)
            assert any("installing" in line for line in replica.notifications()) is installs
            assert not (environments / "not-finished").exists()
            assert prune(environments, most_bytes=0) == []
    assert len(prune(environments, most_bytes=0)) == 1


@pytest.mark.parametrize(
    ("requirements", "settings", "may"),
    [
        (
            "numpy\nPillow>=10,<12; python_version > '3.8'  # see https://example.org\n\ntorch[cpu] ~= 2.0\n",
            [],
            False,
        ),
        ("numpy", ["https://a.example/simple https://b.example/simple", "30", "true"], False),
        ("numpy", ["wheels"], True),
        ("./greeting.whl", [], True),
        ("wheels/greeting-1.0-py3-none-any.whl", [], True),
        ("greeting-1.0-py3-none-any.whl", [], True),
        ("greeting @ file:///repository/greeting", [], True),
        ("-f wheels\ngreeting", [], True),
        (" -r more.txt", [], True),
        ("${HOME}", [], True),
        ("\0-\0r\0", [], True),
        ("# -*- coding: utf-7 -*-\nnumpy", [], True),
    ],
)
def test_packages_are_shared_unless_files_of_the_repository_may_be_among_them(
    requirements: str, settings: list[str], may: bool
) -> None:
    assert may_name_files(requirements, settings, {"greeting-1.0-py3-none-any.whl", "handler.py"}) is may


def test_requirements_that_cannot_be_installed_say_why_and_leave_nothing(tmp_path: Path) -> None:
    model = repository(tmp_path / "model", NEEDY)
    (model / "requirements.txt").write_text("--no-index\n./nowhere-1.0-py3-none-any.whl\n")
    with Replica(tmp_path, model, CUSTOM, "--cache", str(tmp_path / "cache")) as replica:
        assert replica.ended() == 78
    assert "nowhere-1.0-py3-none-any.whl" in replica.termination_log.read_text()
    assert not [path for path in (tmp_path / "cache" / "environments").iterdir() if path.is_dir()]


def test_no_endpoint_loosens_what_its_server_says() -> None:
    def said(server: dict[str, str], own: dict[str, str]) -> tuple[bool, bool, Confinement, tuple[str, ...]]:
        trust = trust_of({**own, **imposed(server, own)})
        return trust.code, trust.pickle, trust.confinement, trust.reach

    assert said({}, {}) == (True, False, Confinement.BEST_EFFORT, ())
    assert said({"INLET_ALLOW_CODE": "0"}, {"INLET_ALLOW_CODE": "1", "INLET_ALLOW_PICKLE": "1"})[:2] == (
        False,
        False,
    )
    assert said({}, {"INLET_ALLOW_CODE": "0"})[0] is False
    assert said({}, {"INLET_SANDBOX": "off"})[2] is Confinement.BEST_EFFORT
    assert said({"INLET_SANDBOX": "off"}, {"INLET_SANDBOX": "require"})[2] is Confinement.REQUIRE
    assert said({"INLET_SANDBOX": "off"}, {})[2] is Confinement.OFF
    assert said({"HF_ENDPOINT": "http://hub.internal"}, {"HF_ENDPOINT": "http://127.0.0.1:22"})[3] == (
        "hub.internal:80",
    )
    assert said({}, {"INLET_SANDBOX_REACH": "127.0.0.1:22", "HF_ENDPOINT": "http://127.0.0.1:22"})[3] == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INLET_ALLOW_CODE", "maybe"),
        ("INLET_SANDBOX", "some"),
        ("INLET_SANDBOX_REACH", "http://a"),
        ("INLET_HANDLER_TIMEOUT", "0"),
        ("INLET_HANDLER_TIMEOUT", "nan"),
        ("INLET_HANDLER_ERROR_STATUS", "200"),
        ("INLET_HANDLER_ISOLATED", "x"),
    ],
)
def test_settings_that_cannot_be_read_are_named(name: str, value: str) -> None:
    read = handler_options if "HANDLER" in name else trust_of
    with pytest.raises(Invalid, match=f"^{name}: "):
        read({name: value})


def test_a_large_answer_comes_whole(good: Replica) -> None:
    value = {"inputs": {"list": ["x" * 1000] * 5000}}
    assert json.loads(good.post(value).content) == value
