"""`inlet bench` as a person uses it: against the API of this folder's stand-in, and against any other server."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from inlet.cli.bench import seconds
from inlet.core.errors import Invalid
from tests.bench.server import Server, serving
from tests.cli import standin
from tests.cli.standin import TOKEN, Api
from tests.cli.test_commands import Cli
from tests.runtime.process import eventually

WITHIN_S = 60


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def cli(api: Api, tmp_path: Path) -> Cli:
    return Cli(api, tmp_path)


@pytest.fixture
def bench(cli: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command as a process of its own: the servers of these tests would count as the generator's work."""

    def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = cli.process("bench", *args, **environment)
        out, err = process.communicate(timeout=WITHIN_S)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    return run


Bench = Callable[..., subprocess.CompletedProcess[str]]


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    """It ended well, or says that the generator was the limit: so it may be in a short run against a quick server."""
    assert done.returncode == int("Invalid: the generator" in done.stderr), done.stderr


def asked(api: Api, path: str) -> list[Any]:
    return [body for method, at, body in api.seen if (method, at) == ("POST", path)]


def test_an_endpoint_gets_the_example_of_its_task(cli: Cli, api: Api, bench: Bench) -> None:
    cli("deploy", "org/model")
    before = len(asked(api, "/default/model"))
    done = bench("model", "-n", "12", "-c", "3", "--warm-up", "5", "-o", "json")
    assert_done(done)
    report = json.loads(done.stdout)
    assert report["target"] == f"{api.url}/default/model"
    assert (report["succeeded"], report["failed"]) == (12, 0)
    assert (report["loop"], report["connections"], report["keepAlive"]) == ("closed", 3, True)
    assert [found["percentile"] for found in report["latencyMs"]["percentiles"]] == [50, 75, 90, 95, 99]
    assert report["latencyMs"]["percentiles"][-1]["high"] is None, "12 requests do not bound it"
    bodies = asked(api, "/default/model")[before:]
    assert bodies == [{"inputs": "I liked this film from start to end."}] * 17, "those not counted, too"
    assert TOKEN not in done.stdout + done.stderr


def test_the_table_says_how_certain_it_is(bench: Bench, server: Server) -> None:
    done = bench(server.url("/ok"), "-n", "40", "--body", "{}")
    assert_done(done)
    assert f"40 × POST {server.url('/ok')}, 1 at a time" in done.stderr
    assert "not certain: it takes 381 requests, and 40 were answered" in done.stdout
    assert "p50 " in done.stdout
    assert sum(int(line.split()[-1]) for line in done.stdout.splitlines() if "≤" in line) == 40


def test_text_file_and_header(tmp_path: Path, cli: Cli, server: Server) -> None:
    (tmp_path / "a.jsonl").write_text('{"inputs":"a"}\n\n{"inputs":"b"}\n')
    (tmp_path / "a.json").write_text('{\n"inputs": "c"}\n')
    for number, *options in (
        ("1", "--text", 'say "hi"', "-H", "X-A: b", "--no-keepalive"),
        ("3", "--file", str(tmp_path / "a.jsonl")),
        ("1", "--file", str(tmp_path / "a.json")),
    ):
        cli("bench", server.url("/ok"), "-n", number, "--warm-up", "0", *options)
    assert [body for _, _, body in server.requests] == [
        b'{"inputs":"say \\"hi\\""}', b'{"inputs":"a"}', b'{"inputs":"b"}', b'{"inputs":"a"}', b'{\n"inputs": "c"}\n',
    ]  # fmt: skip
    assert server.requests[0][1]["x-a"] == "b"
    assert server.requests[0][1]["connection"] == "close"


def test_a_token_goes_where_it_was_meant_to_go(cli: Cli, api: Api, server: Server) -> None:
    cli("bench", server.url("/ok"), "-n", "1")
    assert all("authorization" not in headers for _, headers, _ in server.requests)
    cli("bench", server.url("/ok"), "-n", "1", "--token", "inl_typed")
    assert server.requests[-1][1]["authorization"] == "Bearer inl_typed"
    cli("deploy", "org/model", "--no-wait")
    own = cli("bench", f"{api.url}/v2/endpoint/default/model", "-n", "2", "-o", "json")
    assert json.loads(own.stdout)["succeeded"] == 2, "the server's own address gets its token"


def test_an_open_loop_says_so(bench: Bench, server: Server) -> None:
    done = bench(server.url("/ok"), "-n", "20", "--rate", "200", "-o", "json")
    report = json.loads(done.stdout)
    assert (report["loop"], report["rate"], report["succeeded"]) == ("open", 200.0, 20)
    assert report["generator"]["lateMsP99"] >= 0
    assert done.returncode == (0 if report["valid"] else 1)
    assert bool(report["flaws"]) != report["valid"]


def test_failures_are_shown_with_what_was_said(bench: Bench, server: Server) -> None:
    done = bench(server.url("/fail/2"), "-n", "10", "--warm-up", "0")
    assert_done(done)
    assert 'status 503   5          {"error":"busy"}' in done.stdout
    assert "those of the answered requests alone" in done.stderr


def test_when_nothing_succeeds_the_run_is_not_begun(cli: Cli, server: Server) -> None:
    result = cli("bench", server.url("/fail/1"), "-n", "1000", "--warm-up", "4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert '4 of the first 4 requests failed, none succeeded: status 503 {"error":"busy"}' in result.stderr
    assert len(server.requests) == 4
    unwarmed = cli("bench", server.url("/fail/1"), "-n", "3", "--warm-up", "0", "-o", "json")
    assert unwarmed.exit_code == 1
    assert json.loads(unwarmed.stdout)["latencyMs"] is None


def test_the_plot_is_a_picture(tmp_path: Path, cli: Cli, server: Server) -> None:
    file = tmp_path / "a.svg"
    cli("bench", server.url("/ok"), "-n", "20", "--plot", str(file))
    assert ET.parse(file).getroot().tag.endswith("svg")
    unwritable = cli("bench", server.url("/ok"), "-n", "1", "--plot", str(tmp_path / "none" / "a.svg"))
    assert unwritable.exit_code == 2
    assert "--plot" in unwritable.stderr


def test_ctrl_c_shows_what_there_is(cli: Cli, server: Server) -> None:
    process = cli.process("bench", server.url("/ok"), "-n", "100000000", "-o", "json")
    eventually(lambda: len(server.requests) > 100)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, err
    assert json.loads(out)["succeeded"] > 0
    assert "Stopped after" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("http://h/", "--text", "a", "--body", "b"), "--body: only one of"),
        (("http://h/", "--file", "/nowhere/a.json"), "--file: /nowhere/a.json cannot be read: No such file"),
        (("http://h/", "--header", "x"), "--header: 'x' must be"),
        (("http://h/", "--p99", "100ms"), "--p99: needs --sizes"),
        (("org/model", "--sizes", "x1", "--rate", "5"), "--rate: cannot go with --sizes"),
        (("org/model", "--sizes", "x1,x3"), "--sizes: 'x3' is no instance"),
        (("org/model", "--sizes", "nvidia-t4-x1"), "--sizes: 'nvidia-t4-x1' is no CPU instance"),
        (("org/model", "--sizes", "x1", "--p99", "soon"), "--p99: 'soon' is no time"),
    ],
)
def test_what_cannot_be_asked_for(cli: Cli, api: Api, args: tuple[str, ...], said: str) -> None:
    result = cli("bench", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not [seen for seen in api.seen if seen[0] == "POST"]


def test_an_endpoint_without_an_example_asks_for_a_body(cli: Cli) -> None:
    cli("deploy", "org/model", "--task", "custom", "--no-wait")
    result = cli("bench", "model")
    assert result.exit_code == 2
    assert "--body: no example is known for the task custom" in result.stderr
    assert "There is no endpoint 'other'" in cli("bench", "other").stderr


@pytest.mark.parametrize(("text", "value"), [("100ms", 0.1), ("0.5s", 0.5), ("250", 0.25), (" 1 s ", 1.0)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "0", "-1s", "nan", "inf", "1m"])
def test_no_times(text: str) -> None:
    with pytest.raises(Invalid, match="--p99"):
        seconds(text)


def sizes_made(api: Api) -> list[str]:
    return [
        body["compute"]["instanceSize"]
        for method, path, body in api.seen
        if (method, path) == ("POST", "/v2/endpoint/default")
    ]


def test_sizes_are_tried_one_after_the_other_and_leave_nothing(cli: Cli, api: Api, bench: Bench) -> None:
    done = bench(
        "org/model",
        "--sizes",
        "x1,x2",
        "-n",
        "10",
        "-c",
        "2",
        "--warm-up",
        "1",
        "--p99",
        "1000s",
        "-o",
        "json",
    )
    report = json.loads(done.stdout)
    assert sizes_made(api) == ["x1", "x2"]
    assert cli.json("endpoint", "list")["totalItems"] == 0
    assert [size["size"] for size in report["sizes"]] == ["x1", "x2"]
    assert report["cheapest"] == "x1"
    for size, month, fargate in zip(report["sizes"], (24.09, 48.91), (36.04, 72.08), strict=True):
        assert (size["listPerMonth"], size["fargatePerMonth"]) == (month, fargate)
        assert size["alone"]["succeeded"] == size["together"]["succeeded"] == 10
        assert size["listPerMillion"] < size["fargatePerMillion"]
        assert set(size["fitHere"]) == {"cpu", "memory"}


def test_sizes_as_a_table(bench: Bench) -> None:
    done = bench("org/model", "--sizes", "x1", "-n", "10", "--warm-up", "1", "--p99", "1000s")
    headings, row = done.stdout.splitlines()
    assert headings.startswith("SIZE   VCPU   MEMORY")
    assert row.split()[:4] == ["x1", "1", "2", "GB"]
    assert "24.09" in row
    assert "The cheapest that answers 99 % within 1e+06 ms is x1: $24.09 a month" in done.stderr
    assert "not certain: it takes 381 requests" in done.stderr


def test_a_size_that_is_larger_than_the_machine_is_not_measured(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "LIMITS", replace(standin.LIMITS, instance_vcpus=4))
    result = cli("bench", "org/model", "--sizes", "x4", "--p99", "1s")
    assert result.exit_code == 1
    assert "x4 was not measured: " in result.stderr
    assert "more than this machine has" in result.stderr
    assert "No size that was measured answers 99 % within 1000 ms" in result.stderr
    assert result.stdout.splitlines()[1].split()[4:7] == ["–", "–", "–"]
    assert not asked(api, "/default/model")
    assert cli.json("endpoint", "list")["totalItems"] == 0


def test_a_size_that_does_not_start_is_no_reason_to_stop(cli: Cli, api: Api) -> None:
    result = cli("bench", "org/bad", "--sizes", "x1,x2")
    assert result.exit_code == 1
    assert "x1 was not measured: org/bad has no config.json" in result.stderr
    assert "x2 was not measured: org/bad has no config.json" in result.stderr
    assert sizes_made(api) == ["x1", "x2"]
    assert cli.json("endpoint", "list")["totalItems"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sizes_that_are_stopped_leave_nothing(cli: Cli, api: Api, number: int) -> None:
    process = cli.process("bench", "org/model", "--sizes", "x1,x2", "-n", "100000000")
    eventually(lambda: any(path.startswith("/default/bench-model-x1-") for _, path, _ in list(api.seen)))
    process.send_signal(number)
    _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130, err
    assert "Stopped; nothing of it is left." in err
    assert cli.json("endpoint", "list")["totalItems"] == 0
    assert sizes_made(api) == ["x1"]
