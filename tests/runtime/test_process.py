"""The life of a replica process: start, readiness, drain, exit codes and the reasons that it leaves behind."""

from __future__ import annotations

import http.client
import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inlet.core.errors import Refused
from inlet.runtime.loader import load
from inlet.runtime.options import parse
from tests.reference import Reference
from tests.runtime.process import Replica, eventually

Change = Callable[[Path], None]


def test_a_start_tells_its_steps_and_a_drain_answers_to_the_last(made: Reference, tmp_path: Path) -> None:
    with Replica(tmp_path, made.model("topics"), "text-classification") as replica:
        replica.ready()
        assert replica.socket.stat().st_mode & 0o777 == 0o600
        eventually(lambda: "READY=1" in replica.notifications())
        assert "STATUS=loading the model" in replica.told
        replica.ask({"inputs": "snow"})  # now there is an idle connection
        with replica.sending() as last:  # so that its quiet second cannot be over before all is asked
            replica.terminate()
            eventually(lambda: replica.http.get("/health").status_code == 503)
            health = replica.http.get("/health")
            assert health.json()["state"] == "terminating"
            for _ in range(3):  # still accepted, on kept and on new connections
                answer = replica.post({"inputs": "snow"})
                assert answer.status_code == 200
                assert answer.headers["connection"] == "close"
                assert answer.headers["x-inlet-draining"] == "1"
            begin = time.monotonic()
            last.sendall(b'ts":"a"}')
            assert last.recv(2000).startswith(b"HTTP/1.1 200")
        eventually(lambda: "STOPPING=1" in replica.notifications())
        assert replica.ended() == 0
        assert time.monotonic() - begin > 0.9  # one quiet second
        assert not replica.socket.exists()
        assert not replica.termination_log.exists()


def test_a_drain_waits_for_a_request_that_is_still_being_sent(made: Reference, tmp_path: Path) -> None:
    with Replica(tmp_path, made.model("topics"), "text-classification") as replica:
        replica.ready()
        with replica.sending() as raw:
            replica.terminate()
            # longer than the quiet second that would end an idle replica
            with pytest.raises(subprocess.TimeoutExpired):
                replica.process.wait(timeout=1.6)
            raw.sendall(b'ts":"a"}')
            assert raw.recv(2000).startswith(b"HTTP/1.1 200")
        assert replica.ended() == 0


def test_a_termination_during_the_start_ends_it(made: Reference, tmp_path: Path) -> None:
    with Replica(tmp_path, made.model("minilm"), "feature-extraction") as replica:
        eventually(replica.health)
        replica.terminate()
        assert replica.ended() == 0


def edit(name: str, **changes: Any) -> Change:
    """Change fields of a JSON file; None removes one."""

    def apply(folder: Path) -> None:
        path = folder / name
        merged = {**json.loads(path.read_bytes()), **changes}
        path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))

    return apply


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def cut_off(name: str, size: int) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


CLASSIFY, TAG, FEATURES = "text-classification", "token-classification", "feature-extraction"


@pytest.mark.parametrize(
    ("model", "task", "change", "reason"),
    [
        ("topics", CLASSIFY, without("config.json"), "model: the repository has neither a config.json"),
        ("topics", CLASSIFY, without("model.safetensors"), "the model has no safetensors weights"),
        ("topics", CLASSIFY, without("tokenizer.json"), "the model has no tokenizer.json"),
        ("topics", CLASSIFY, edit("config.json", model_type="deberta"),
         "models of type 'deberta' are not supported yet; supported: albert, bert"),
        ("topics", CLASSIFY, edit("config.json", position_embedding_type="relative_key"),
         "config.json has position_embedding_type='relative_key', which is not supported yet"),
        ("topics", CLASSIFY, edit("config.json", hidden_act="mish"), "config.json has hidden_act='mish'; supported:"),
        ("topics", CLASSIFY, edit("config.json", is_decoder=True), "config.json has is_decoder=True"),
        ("topics", CLASSIFY, edit("config.json", num_hidden_layers=2), "the weights have tensors that this"),
        ("topics", CLASSIFY, edit("config.json", num_hidden_layers=4),
         "the weights lack the tensor bert.encoder.layer.3."),
        ("topics", CLASSIFY, edit("config.json", intermediate_size=95), "tensor bert.encoder.layer.0.intermediate"),
        ("topics", CLASSIFY, edit("config.json", num_attention_heads=5), "config.json: hidden_size 48 is not a"),
        ("topics", CLASSIFY, edit("config.json", hidden_size="48"), "config.json: hidden_size must be a positive"),
        ("topics", CLASSIFY, edit("config.json", id2label={"0": "a"}), "config.json names 1 labels, the weights have 3"),
        ("topics", CLASSIFY, cut_off("config.json", 20), "config.json is not readable JSON"),
        ("topics", CLASSIFY, cut_off("tokenizer.json", 20), "tokenizer.json cannot be read"),
        ("topics", CLASSIFY, cut_off("model.safetensors", 20_000), "model.safetensors was cut off at tensor"),
        ("topics", CLASSIFY, cut_off("model.safetensors", 500), "model.safetensors is not a safetensors file"),
        ("sharded", CLASSIFY, without("model-00002-of-00006.safetensors"), "model-00002-of-00006.safetensors cannot"),
        ("topics", TAG, None, "task: the model is a BertForSequenceClassification: it does text-classification, not"),
        ("entities", CLASSIFY, None, "task: the model is a BertForTokenClassification: it does token-classification"),
        ("bare", CLASSIFY, None, "task: the model has no classification head (BertModel), so it cannot do text-class"),
        ("bare", "", None, "task: no task was given; known: audio-classification"),
        ("bare", "no-such-task", None, "task: the task 'no-such-task' is not known; known:"),
        ("bare", "translation", None,
         "model: translation is computed by torch; that takes torch and transformers: install inlet-endpoints[torch]"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_with_a_reason(
    made: Reference, tmp_path: Path, model: str, task: str, change: Change | None, reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(made.model(model), folder)
    if change is not None:
        change(folder)
    options = parse(["--model", str(folder), "--task", task, "--port", "0"], {})
    with pytest.raises(Refused) as refused:
        load(options, lambda *_: None)
    assert str(refused.value).startswith(reason)


def test_a_refusal_ends_the_process_with_its_reason(made: Reference, tmp_path: Path) -> None:
    with Replica(tmp_path, made.model("bare"), CLASSIFY) as replica:
        assert replica.ended() == 78
        reason = replica.termination_log.read_text()
        assert reason.startswith("task: the model has no classification head (BertModel)")
        assert reason in replica.log.read_text()
        assert "Traceback" not in replica.log.read_text()


def test_a_missing_folder_and_a_missing_socket_folder_are_named(made: Reference, tmp_path: Path) -> None:
    with Replica(tmp_path, tmp_path / "nowhere", FEATURES) as replica:
        assert replica.ended() == 78
        assert replica.termination_log.read_text() == f"model: there is no folder {tmp_path / 'nowhere'}"
    with Replica(tmp_path / "..", made.model("bare"), FEATURES, "--socket", "/nowhere/r.sock") as replica:
        assert replica.ended() == 78
        assert replica.termination_log.read_text().startswith(
            "cannot listen on /nowhere/r.sock: No such file"
        )


def test_a_model_that_does_not_fit_says_so(made: Reference, tmp_path: Path) -> None:
    """Under a limit on its address space the process names the reason instead of dying of it."""
    limit = "import resource,runpy,sys; resource.setrlimit(resource.RLIMIT_DATA, (150_000_000,) * 2); "
    run = limit + "sys.argv[0] = 'r'; runpy.run_module('inlet.runtime', run_name='__main__')"
    reason = tmp_path / "reason"
    command = [sys.executable, "-c", run, "--model", str(made.model("minilm")), "--task", FEATURES,
               "--socket", str(tmp_path / "r.sock"), "--termination-log", str(reason)]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1, ended.stderr
    assert reason.read_text().startswith("out of memory")


def test_memory_that_runs_out_later_ends_the_replica_with_an_answer(made: Reference, tmp_path: Path) -> None:
    def when_stopped() -> str:
        text = Path(f"/proc/{replica.process.pid}/status").read_text()
        return text if "State:\tT" in text else ""

    with Replica(tmp_path, made.minilm, FEATURES) as replica, socket.socket(socket.AF_UNIX) as raw:
        replica.ready()
        raw.connect(str(replica.socket))
        # In quiet moments it warms up, which takes memory too: it must have none between the limit and the request.
        replica.process.send_signal(signal.SIGSTOP)
        status = eventually(when_stopped)
        data = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
        resource.prlimit(replica.process.pid, resource.RLIMIT_DATA, (data + 20_000_000,) * 2)
        body = json.dumps({"inputs": ["word " * 500] * 8})
        raw.sendall(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        replica.process.send_signal(signal.SIGCONT)
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert answer.status == 503
        assert json.loads(answer.read()) == {"error": "the replica ran out of memory and is restarting"}
        assert replica.ended() == 1
        assert replica.termination_log.read_text().startswith("out of memory")
        assert "Traceback" not in replica.log.read_text()


def test_nothing_heavy_is_imported(made: Reference, tmp_path: Path) -> None:
    """A replica that serves has neither torch nor transformers, nor the control plane's libraries."""
    code = (
        "import sys, asyncio; from pathlib import Path; from inlet.runtime import __main__, loader, batcher;"
        "from inlet.runtime.options import parse;"
        f"loader.load(parse(['--model', {str(made.model('bare'))!r}, '--task', 'feature-extraction', '--port', '1'], {{}}),"
        " lambda *_: None);"
        "print([n for n in ('torch', 'transformers', 'fastapi', 'pydantic', 'huggingface_hub', 'structlog', 'sqlalchemy',"
        " 'openvino.tools.ovc') if sys.modules.get(n)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
