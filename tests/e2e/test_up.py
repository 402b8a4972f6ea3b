"""`inlet up` as a newcomer meets it: the token, the sample, a taken port, Ctrl-C, and the next start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx

from inlet.control.vault import generate_key

from .installation import INLET, TOKEN, Installation, contents, installation, wait_for


def test_the_first_start_prints_a_token_once_and_shows_a_prediction(home: Path) -> None:
    inlet = Installation(home, env={"INLET_TOKEN": ""}, args=("--sample",))
    try:
        inlet.start()
        wait_for("Ctrl-C line", lambda: "Ctrl-C stops everything" in inlet.output(), within=150)
        first = inlet.output()
        tokens = [w for w in first.split() if w.startswith("inl_")]
        assert tokens
        headers = {"Authorization": f"Bearer {tokens[0]}"}
        answer = httpx.get(f"{inlet.url}/v2/endpoint/default", headers=headers, timeout=60.0)
        assert [e["name"] for e in answer.json()["items"]] == ["sample"]
        assert "Refunds are paid" in first
        assert f"curl {inlet.url}/default/sample" in first
        for path, content in contents(home):
            if "hub" not in path.parts:
                assert tokens[0].encode() not in content, f"the token lies in {path}"
        assert inlet.stop() == 0
        inlet.wait_for_end()
        inlet.start()
        wait_for(
            "second Ctrl-C line", lambda: inlet.output().count("Ctrl-C stops everything") == 2, within=150
        )
        assert not [w for w in inlet.output()[len(first) :].split() if w.startswith("inl_")]
        assert inlet.stop() == 0
    finally:
        inlet.kill()


def test_a_taken_port_and_a_taken_home_are_said_clearly(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = {**os.environ, "INLET_HOME": str(home)}
        done = subprocess.run([INLET, "up", "--port", port], env=env, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert done.returncode == 1
        assert f"port {port}" in done.stderr
        assert "INLET_PORT" in done.stderr
        assert "Traceback" not in done.stderr
    with installation(home) as inlet:
        env = {**os.environ, "INLET_HOME": str(home)}
        second = subprocess.run([INLET, "up", "--port", "0"], env=env, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert second.returncode == 1
        assert "already runs" in second.stderr
        wait_for("/readyz", inlet.is_ready)


def test_deploy_from_the_command_line_without_typing_a_token(home: Path, sample_model: Path) -> None:
    with installation(home, env={"INLET_TOKEN": ""}) as inlet:
        env = {k: v for k, v in os.environ.items() if not k.startswith("INLET_")} | {"INLET_HOME": str(home)}
        done = subprocess.run([INLET, "deploy", str(sample_model), "--name", "mini"], env=env, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"{inlet.url}/default/mini" in done.stdout + done.stderr
        listed = subprocess.run([INLET, "endpoint", "list", "--output", "json"], env=env, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert '"mini"' in listed.stdout
        assert TOKEN not in listed.stdout


def test_what_strangers_reach_has_no_secret_of_the_server(home: Path, sample_model: Path) -> None:
    secrets = {
        "INLET_DATABASE_URL": f"sqlite:///{home}/inlet.db",
        "INLET_SECRET_KEY": generate_key(),
        "HF_TOKEN": "hf_of_the_server",
    }
    with installation(home, env=secrets) as inlet:
        inlet.create("mini", str(sample_model))
        inlet.wait_for_state("mini", "running")
        strangers = [
            process
            for process in inlet.processes()
            if {"inlet.router", "inlet.runtime"}.intersection(process.cmdline())
        ]
        assert len(strangers) == 2
        for process in strangers:
            variables = process.environ()
            assert not {*secrets, "INLET_TOKEN"}.intersection(variables), process.cmdline()
            assert TOKEN not in " ".join([*process.cmdline(), *variables.values()])


def test_ctrl_c_that_comes_before_control_is_up_stops_adopted_replicas_too(
    home: Path, sample_model: Path
) -> None:
    with installation(home) as inlet:
        inlet.create("mini", str(sample_model))
        wait_for("a replica", inlet.replicas)
        inlet.kill_parent()
        wait_for("only the replica", lambda: len(inlet.processes()) < 3 and inlet.replicas())
        printed = len(inlet.output())
        env = {**os.environ, "INLET_HOME": str(home), "INLET_TOKEN": TOKEN, "INLET_DRAIN_SECONDS": "10"}
        with subprocess.Popen(
            [INLET, "up", "--port", str(inlet.port)], env=env, stdout=subprocess.PIPE
        ) as again:
            assert again.stdout is not None
            again.stdout.readline()  # the greeting: from here on Ctrl-C is heard
            again.send_signal(signal.SIGINT)
            assert again.wait(120) == 0
        assert len(inlet.output()) == printed
        inlet.wait_for_end()


def test_a_sample_that_fails_is_said_and_ends_nothing(home: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nope"}')
    env = {"INLET_MODELS": str(tmp_path)}
    with installation(home, env=env) as inlet:
        inlet.create("sample", str(tmp_path))
        inlet.wait_for_state("sample", "failed")
        assert inlet.stop() == 0
        again = Installation(home, env=env, args=("--sample",))
        again.port = inlet.port
        again.start()
        inlet.parent = again.parent
        wait_for("the sample's failure", lambda: "the sample endpoint does not answer" in again.output())
        wait_for("its reason and what to do", lambda: "set model.task" in again.output())
        wait_for("/readyz", again.is_ready)
