"""Every command against a real HTTP server; some as a process of their own, as a person starts them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from inlet import __version__
from inlet.cli import output
from inlet.cli.app import app
from inlet.cli.up import command_for
from tests.cli.standin import TOKEN, Api, Refusal


class Cli:
    def __init__(self, api: Api, home: Path) -> None:
        self.environment = {
            "INLET_URL": api.url,
            "INLET_API_TOKEN": TOKEN,
            "INLET_HOME": str(home / "nowhere"),
        }

    def __call__(self, *args: str, **environment: str) -> Result:
        return CliRunner().invoke(app, args, env={**self.environment, **environment})

    def json(self, *args: str) -> Any:
        result = self(*args, "--output", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def process(self, *args: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "inlet", *args],
            env={**os.environ, **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background is started with Ctrl-C ignored, and its children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one call, no locks
        )


@pytest.fixture
def cli(api: Api, tmp_path: Path) -> Cli:
    return Cli(api, tmp_path)


def test_deploy_goes_from_nothing_to_an_answer_and_the_curl(cli: Cli, api: Api) -> None:
    result = cli("deploy", "org/My-Model", "--secret", "HF_TOKEN", "--env", "A=1", HF_TOKEN="hunter2")
    assert result.exit_code == 0, result.stderr
    method, path, body = next(seen for seen in api.seen if seen[0] == "POST")
    assert (method, path) == ("POST", "/v2/endpoint/default")
    assert body == {
        "name": "my-model",
        "type": "private",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "accelerator": "cpu",
            "instanceType": "intel-spr",
            "instanceSize": "x1",
            "scaling": {"minReplica": 1, "maxReplica": 1, "scaleToZeroTimeout": None},
        },
        "model": {
            "repository": "org/My-Model",
            "revision": None,
            "framework": "pytorch",
            "image": {"huggingface": {}},
            "env": {"A": "1"},
            "secrets": {"HF_TOKEN": "hunter2"},
        },
        "tags": [],
    }
    lines = result.stdout.splitlines()
    assert lines[0] == f"{api.url}/default/my-model"
    assert '→ [{"label":"POSITIVE","score":0.9877}]' in lines
    assert f"curl {api.url}/default/my-model \\" in lines
    assert "downloading 43 %" in result.stderr, "progress is shown"
    assert "$24.09 per month" in result.stderr
    assert TOKEN not in result.output
    assert "hunter2" not in result.output


def test_deploy_with_everything_said(cli: Cli, api: Api, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    made = cli.json(
        "deploy", str(tmp_path), "--name", "mine", "--task", "token-classification", "--instance", "x2",
        "--min", "0", "--max", "3", "--scale-to-zero-timeout", "30", "--type", "public", "--revision", "main",
        "--framework", "custom", "--tag", "a", "--tag", "b", "--namespace", "acme", "--no-wait",
    )  # fmt: skip
    assert made == cli.json("endpoint", "describe", "mine", "--namespace", "acme")
    assert made["type"] == "public"
    assert made["tags"] == ["a", "b"]
    assert made["compute"]["instanceSize"] == "x2"
    assert made["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 3, "scaleToZeroTimeout": 30}
    assert made["model"]["repository"] == str(tmp_path)
    assert made["status"]["state"] == "pending", "--no-wait does not wait"


def test_deploy_of_what_could_be_a_folder_says_what_it_is_taken_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "taken for" not in cli("deploy", "org/model", "--no-wait").stderr
    (tmp_path / "org" / "model").mkdir(parents=True)
    result = cli("deploy", "org/model", "--no-wait", "--name", "other")
    assert result.exit_code == 0
    assert "the folder of that name here is ./org/model" in result.stderr


def test_deploy_that_fails_says_why(cli: Cli) -> None:
    result = cli("deploy", "org/bad")
    assert result.exit_code == 1
    assert "Error: org/bad has no config.json" in result.stderr
    assert result.stdout == ""


def test_deploy_of_a_taken_name(cli: Cli) -> None:
    cli("deploy", "org/model", "--no-wait")
    result = cli("deploy", "org/model")
    assert result.exit_code == 1
    assert "an endpoint named 'model' exists" in result.stderr
    assert "Request id: " in result.stderr


def test_deploy_without_the_named_variable_sends_nothing(cli: Cli, api: Api) -> None:
    result = cli("deploy", "org/model", "--secret", "NO_SUCH_VARIABLE")
    assert result.exit_code == 2
    assert "--secret: NO_SUCH_VARIABLE" in result.stderr
    assert all(method != "POST" for method, _, _ in api.seen)


def test_list_and_describe(cli: Cli, api: Api) -> None:
    empty = cli("endpoint", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "inlet deploy" in empty.stderr
    cli("deploy", "org/model", "--env", "LEVEL=info")
    listed = cli.json("endpoint", "list")
    assert listed["totalItems"] == 1
    described = cli.json("endpoint", "describe", "model")
    assert listed["items"] == [{**described, "inlet": {**described["inlet"], "limits": None}}]
    (headings, row) = cli("endpoint", "list").stdout.splitlines()
    assert headings.split() == ["NAME", "STATE", "REPLICAS", "REPOSITORY", "TASK", "INSTANCE", "URL"]
    assert row.split()[:5] == ["model", "running", "1/1", "org/model", "text-classification"]
    shown = cli("endpoint", "describe", "model").stdout
    for expected in (
        "$24.09 per month",
        "LEVEL=info",
        "r-1",
        "best effort: 2 vCPU",
        f"{api.url}/default/model",
    ):
        assert expected in shown


def test_data_is_never_markup(cli: Cli) -> None:
    cli("deploy", "org/model", "--env", "A=[red]x[/red] :smile:", "--no-wait")
    assert "A=[red]x[/red] :smile:" in cli("endpoint", "describe", "model").stdout


def test_rows_are_whole_however_narrow_the_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WIDE", 40)
    output.table(("NAME", "URL"), [("mini", "http://127.0.0.1:8080/default/" + "m" * 400)], empty="")
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "mini",
        "http://127.0.0.1:8080/default/" + "m" * 400,
    ]


def test_a_terminal_obeys_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME",), [("a\x1b[31m\x9b",)], empty="")
    output.facts({"Error": "b\x07"})
    output.say("c\x1b]0;x")
    out, err = capsys.readouterr()
    assert "a\\x1b[31m\\x9b" in out
    assert "b\\x07" in out
    assert err == "c\\x1b]0;x\n"


def test_update_sends_only_what_was_given(cli: Cli, api: Api) -> None:
    cli("deploy", "org/model", "--env", "A=1", "--secret", "S=old", "--no-wait")
    cli.json("endpoint", "update", "model", "--max", "4", "--instance", "x2", "--no-wait")
    assert api.seen[-1] == (
        "PUT",
        "/v2/endpoint/default/model",
        {
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {
                "accelerator": "cpu",
                "instanceType": "intel-spr",
                "instanceSize": "x2",
                "scaling": {"maxReplica": 4},
            },
        },
    )
    cli.json(
        "endpoint", "update", "model", "--env", "B=2", "--secret", "T=new", "--revision", "main", "--no-wait"
    )
    assert api.seen[-1][2] == {
        "model": {"revision": "main", "env": {"A": "1", "B": "2"}, "secrets": {"S": None, "T": "new"}}
    }
    nothing = cli("endpoint", "update", "model")
    assert nothing.exit_code == 2
    assert "say what to change" in nothing.stderr


def test_pause_resume_sleep_delete(cli: Cli, api: Api) -> None:
    cli("deploy", "org/model")
    awake = cli("endpoint", "scale-to-zero", "model")
    assert awake.exit_code == 1
    assert "scaled to zero" in awake.stderr
    cli("endpoint", "update", "model", "--min", "0")
    assert "is paused" in cli("endpoint", "pause", "model").stderr
    assert "is running" in cli("endpoint", "resume", "model").stderr, "waits"
    refused = cli("endpoint", "resume", "model")
    assert refused.exit_code == 1
    assert "already running" in refused.stderr
    assert cli.json("endpoint", "scale-to-zero", "model")["status"]["state"] == "scaledToZero"
    unasked = cli("endpoint", "delete", "model")
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    assert cli.json("endpoint", "list")["totalItems"] == 1
    assert cli.json("endpoint", "delete", "model", "--yes") == {}
    assert cli.json("endpoint", "list")["totalItems"] == 0
    gone = cli("endpoint", "describe", "model")
    assert gone.exit_code == 1
    assert "model" in gone.stderr
    assert "inlet endpoint list" in gone.stderr


def test_logs(cli: Cli, api: Api) -> None:
    api.log("first line", "second line")
    cli("deploy", "org/model", "--no-wait")
    assert cli("endpoint", "logs", "model", "--replica", "r-1").stdout == "first line\nsecond line\n"
    assert api.seen[-1][1] == "/v2/endpoint/default/model/logs?replica=r-1&tail=100"
    lines = cli("endpoint", "logs", "model", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"line": "first line"}, {"line": "second line"}]
    assert cli("endpoint", "logs", "other").exit_code == 1


def test_no_logs_are_said_beside_the_result(cli: Cli) -> None:
    cli("deploy", "org/model", "--no-wait")
    result = cli("endpoint", "logs", "model", "--replica", "nobody")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no lines of a replica 'nobody'" in result.stderr


def test_tokens(cli: Cli, api: Api) -> None:
    made = cli("token", "create", "app", "--permission", "infer:default/mini", "--expires-in-days", "30")
    assert re.fullmatch(r"inl_[\w-]{43}\n", made.stdout)
    assert "infer on default/mini" in made.stderr
    assert api.seen[-1][2] == {
        "name": "app",
        "permissions": [{"permission": "infer", "namespace": "default", "endpoint": "mini"}],
        "expires_in_days": 30.0,
    }
    assert cli.json("token", "create", "ci")["permissions"] == [
        {"permission": "infer", "namespace": "*", "endpoint": None}
    ]
    listed = cli("token", "list").stdout
    assert made.stdout.strip() not in listed
    assert "expired" in listed
    assert "infer everywhere" in listed
    assert cli("token", "revoke", "ci").exit_code == 0
    app_token, ci_token = cli.json("token", "list")["items"]
    assert (app_token["revokedAt"] is None, ci_token["revokedAt"] is None) == (True, False)
    assert cli.json("token", "revoke", app_token["id"]) == {}
    assert "revoked" in cli("token", "list").stdout
    unknown = cli("token", "revoke", "nobody")
    assert unknown.exit_code == 1
    assert "'nobody'" in unknown.stderr
    assert "inlet endpoint list" not in unknown.stderr


def test_two_tokens_of_one_name_are_not_guessed_between(cli: Cli) -> None:
    cli("token", "create", "twin")
    cli("token", "create", "twin")
    result = cli("token", "revoke", "twin")
    assert result.exit_code == 1
    twins = cli.json("token", "list")["items"]
    assert all(twin["id"] in result.stderr for twin in twins)
    assert [twin["revokedAt"] for twin in twins] == [None, None]


def test_namespaces(cli: Cli) -> None:
    assert cli.json("namespace", "create", "team") == {"name": "team"}
    names = ["default", "acme", "team"]
    assert cli.json("namespace", "list") == {"items": [{"name": name} for name in names]}
    assert cli("namespace", "list").stdout.split() == ["NAME", *names]
    reserved = cli("namespace", "create", "v2")
    assert reserved.exit_code == 1
    assert "v2" in reserved.stderr


def test_hardware_whoami_version(cli: Cli) -> None:
    assert [vendor["name"] for vendor in cli.json("hardware")["vendors"]] == ["aws", "azure", "gcp"]
    table = cli("hardware").stdout
    assert "aws-us-east-1-intel-spr-x2" in table
    assert "48.91" in table, "a month at 0.067 per hour"
    assert "nvidia" not in table
    assert "nvidia" in cli("hardware", "--all", "--accelerator", "gpu").stdout
    assert "default" in cli("whoami").stdout
    assert cli.json("version") == {"version": __version__}
    assert cli.json("about")["control"]["shared"] is False
    assert "the only one" in cli("about").stdout


def test_an_unknown_token_is_told_apart(cli: Cli) -> None:
    result = cli("whoami", "--token", "inl_other")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "INLET_API_TOKEN" in result.stderr
    assert "inl_other" not in result.stderr


def test_what_is_not_an_inlet_is_told_apart(cli: Cli, api: Api) -> None:
    api.refusal = Refusal(200, "a page of something else")
    result = cli("whoami")
    assert result.exit_code == 1
    assert "is it the address of an Inlet?" in result.stderr
    wrong = cli("whoami", "--url", "ftp://x")
    assert wrong.exit_code == 1
    assert "http://127.0.0.1:8080" in wrong.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["endpoint", "nonsense"],
        ["deploy"],
        ["endpoint", "list", "--output", "xml"],
        ["up", "--port", "70000"],
    ],
)
def test_wrong_usage_is_2(cli: Cli, args: list[str]) -> None:
    result = cli(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    "url", ["foo", "ftp://a", "http://[", "http://a:web", "http://a:99999", "http://a b"]
)
def test_what_is_no_address_is_named(cli: Cli, url: str) -> None:
    result = cli("about", "--url", url)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: url: {url!r} is not an address like http://127.0.0.1:8080")


def test_every_command_teaches_by_example(cli: Cli) -> None:
    from typer.main import get_command

    def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            yield path
            return
        for name, sub in subcommands.items():
            yield from leaves(sub, (*path, name))

    paths = list(leaves(get_command(app), ()))
    assert len(paths) == 27
    for path in paths:
        shown = cli(*path, "--help").stdout
        assert f"\n    inlet {' '.join(path)}" in shown, path


# As processes


def test_a_server_that_is_away_is_one_line_and_a_hint(cli: Cli) -> None:
    process = cli.process("endpoint", "list", INLET_URL="http://127.0.0.1:9")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("Error: http://127.0.0.1:9 cannot be reached")
    assert "inlet up" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_told_from_a_port_in_use(
    cli: Cli, host: str, tmp_path: Path
) -> None:
    process = cli.process("up", "--host", host, "--port", "0", INLET_HOME=str(tmp_path / "home"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"Error: '{host}' is no address of this machine")


@pytest.mark.parametrize(
    ("folder", "on_path", "typed"),
    [
        ("/srv", "/opt/inlet/.venv/bin/inlet", "inlet"),
        ("/opt/inlet", "/usr/bin/inlet", ".venv/bin/inlet"),
        ("/srv", None, "/opt/inlet/.venv/bin/inlet"),
    ],
)
def test_up_names_a_command_that_works_in_another_terminal(
    folder: str, on_path: str | None, typed: str
) -> None:
    assert command_for(Path("/opt/inlet/.venv/bin/inlet"), Path(folder), on_path) == typed
    module = Path("/opt/inlet/.venv/lib/inlet/__main__.py")
    assert command_for(module, Path(folder), on_path) == "python -m inlet"


def test_help_loads_nothing_slow() -> None:
    slow = ("fastapi", "httpx", "numpy", "openvino", "pydantic", "sqlalchemy", "uvicorn")
    script = (
        "import atexit, sys; from inlet.__main__ import main;"
        f"atexit.register(lambda: print('loaded:', [m for m in {slow} if m in sys.modules])); main()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "deploy" in shown
    assert shown.endswith("loaded: []\n")


def test_ctrl_c_while_waiting_is_clean(cli: Cli, api: Api) -> None:
    api.stuck = True
    process = cli.process("deploy", "org/model")
    assert "is made" in process.stderr.readline()
    assert "pending" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "goes on starting" in err
    assert "Traceback" not in err


def test_ctrl_c_while_following_is_clean(cli: Cli, api: Api) -> None:
    api.log("first line")
    cli("deploy", "org/model", "--no-wait")
    process = cli.process("endpoint", "logs", "model", "--follow")
    assert process.stdout.readline() == "first line\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


def test_a_reader_that_leaves_is_no_error(cli: Cli, api: Api) -> None:
    api.log(*["x" * 10_000] * 100)
    cli("deploy", "org/model", "--no-wait")
    process = cli.process("endpoint", "logs", "model")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=30)
