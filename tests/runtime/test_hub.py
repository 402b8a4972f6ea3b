"""Models from the Hub: the real client against a stand-in, through a real replica process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inlet.runtime.sources import Selection, fetch
from tests.full_disk import fill, free, small_disk
from tests.reference import Reference
from tests.runtime.close import assert_close
from tests.runtime.process import Replica, eventually
from tests.standins.hub import Repository, StandinHub, Trouble
from tests.system import reserved_port

NAME = "acme/topics"
TASK = "text-classification"


@pytest.fixture
def hub(made: Reference, tmp_path: Path) -> Iterator[StandinHub]:
    shutil.copytree(made.model("topics"), tmp_path / "hub" / NAME)
    for name in ("modeling.py", "pytorch_model.bin", "README.md", "model.ckpt"):
        (tmp_path / "hub" / NAME / name).write_text("never fetched")
    with StandinHub(tmp_path / "hub") as running:
        yield running


def percents(replica: Replica) -> list[int]:
    """How far the download was, as often as it was told; but for what is told of a hub that is slow."""
    told = [re.fullmatch(r"STATUS=downloading (\d+) %", line) for line in replica.notifications()]
    return [int(match[1]) for match in told if match]


def start(hub: StandinHub, folder: Path, *, commit: str | None = None, **env: str) -> Replica:
    folder.mkdir()
    flags = ["--commit", commit or hub.commit(NAME), "--cache", str(folder.parent / "cache")]
    return Replica(folder, NAME, TASK, *flags, env={"HF_ENDPOINT": hub.url, "HF_HOME": str(folder), **env})


def test_the_commit_is_fetched_and_code_is_not(hub: StandinHub, made: Reference, tmp_path: Path) -> None:
    commit = hub.commit(NAME)
    with start(hub, tmp_path / "a") as replica:
        replica.ready()
        assert replica.http.get("/info").json()["model_sha"] == commit
        case = made.of(TASK)[0]
        assert_close(replica.ask({"inputs": case.inputs}), case.expected)
        told = percents(replica)
        assert (told[0], told[-1]) == (0, 100)
        assert "downloading: 100 %" in replica.log.read_text()
    fetched = {asked.path.rsplit("/", 1)[-1] for asked in hub.requests if "/resolve/" in asked.path}
    assert fetched == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert all(f"/resolve/{commit}/" in asked.path for asked in hub.requests if "/resolve/" in asked.path)


def fetched(hub: StandinHub, repository: str) -> set[str]:
    begin = f"/{repository}/resolve/{hub.commit(repository)}/"
    return {asked.path.removeprefix(begin) for asked in hub.requests if asked.path.startswith(begin)}


def test_weights_that_nothing_can_use_are_not_fetched(hub: StandinHub, tmp_path: Path) -> None:
    (hub.folder / NAME / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with start(hub, tmp_path / "a") as replica:
        assert replica.ended() == 78
        reason = replica.termination_log.read_text()
    assert reason.startswith("models of type 'unheard-of' are not supported yet")
    assert "inlet-endpoints[torch]" in reason
    assert fetched(hub, NAME) == {"config.json"}


def test_a_fault_of_our_own_is_not_blamed_on_the_hub(
    hub: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the Hub waits for ever."""
    (hub.folder / NAME / "config.json").unlink()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)

    def fails(*_: object) -> set[str]:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        fetch(
            NAME,
            commit=None,
            cache=tmp_path,
            token=None,
            progress=pytest.fail,
            selection=Selection("fails", fails),
        )


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (("openvino/openvino_model.xml", "openvino/openvino_model.bin", "onnx/model.onnx"),
         {"openvino/openvino_model.xml", "openvino/openvino_model.bin"}),
        (("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_fp16.onnx"), {"onnx/model.onnx", "onnx/model.onnx_data"}),
    ],
)  # fmt: skip
def test_ready_made_files_are_fetched_instead_of_weights_that_cannot_be_used(
    hub: StandinHub, tmp_path: Path, files: tuple[str, ...], wanted: set[str]
) -> None:
    folder = hub.folder / NAME
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(file)
    ask = (
        "import sys; from pathlib import Path; from inlet.runtime.sources import Selection, fetch; "
        "from inlet.runtime.origins.files import selected; "
        "print(fetch(sys.argv[1], commit=sys.argv[2], cache=Path(sys.argv[3]), token=None, progress=print, selection=Selection('a', selected)))"
    )
    command = [sys.executable, "-c", ask, NAME, hub.commit(NAME), str(tmp_path / "cache")]
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    told = subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout.splitlines()
    assert told[:-1] == sorted(told[:-1], key=lambda line: int(line.split()[1]))
    assert all((Path(told[-1]) / file).read_text() == file for file in wanted)
    assert fetched(hub, NAME) == {"config.json", "tokenizer.json", "tokenizer_config.json", *wanted}


def test_a_complete_download_needs_no_hub(hub: StandinHub, tmp_path: Path) -> None:
    with start(hub, tmp_path / "a") as replica:
        replica.ready()
    asked = len(hub.requests)
    with start(hub, tmp_path / "b", HF_ENDPOINT="http://127.0.0.1:9") as replica:
        assert replica.ready().ask({"inputs": "snow"})
    assert len(hub.requests) == asked


def test_a_broken_download_goes_on_where_it_broke(made: Reference, tmp_path: Path) -> None:
    """With a model of 90 MB: the client writes what it has in steps of 10 MB."""
    repository = tmp_path / "hub" / "acme" / "minilm"
    shutil.copytree(made.minilm, repository)
    with StandinHub(tmp_path / "hub") as hub:
        hub.cut("acme/minilm", "model.safetensors", after=45_000_000)
        flags = ["--commit", hub.commit("acme/minilm"), "--cache", str(tmp_path / "cache")]
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
        with Replica(tmp_path, "acme/minilm", "sentence-embeddings", *flags, env=env) as replica:
            assert replica.ready().ask({"inputs": "a happy dog"})["embeddings"]
            told = percents(replica)
    assert told == sorted(told)
    assert any(0 < percent < 100 for percent in told)
    ranges = [asked.range for asked in hub.requests if asked.path.endswith("model.safetensors")]
    assert any(asked is not None and int(asked[6:-1]) >= 40_000_000 for asked in ranges)
    fetched = {
        asked.path.rsplit(hub.commit("acme/minilm"), 1)[-1]
        for asked in hub.requests
        if "/resolve/" in asked.path
    }
    assert "/1_Pooling/config.json" in fetched


def test_another_commit_is_not_served(hub: StandinHub, tmp_path: Path) -> None:
    with start(hub, tmp_path / "a", commit="0" * 40) as replica:
        assert replica.ended() == 78
        assert replica.termination_log.read_text() == f"model: {NAME} has no commit {'0' * 40}"


@pytest.mark.parametrize(
    ("settings", "token", "reason"),
    [
        (Repository(gated=True), None,
         f"model: {NAME} is gated: accept its licence on the Hub, then start again; set the endpoint's secret HF_TOKEN"),
        (Repository(gated=True), "hf_wrong",
         f"model: {NAME} is gated: accept its licence on the Hub, then start again; the token in the secret HF_TOKEN"),
        (Repository(private=True), None,
         f"model: there is no model {NAME} on the Hub; if it is private, set the endpoint's secret HF_TOKEN"),
        (Repository(private=True), "hf_wrong",
         f"model: there is no model {NAME} on the Hub; the token in the secret HF_TOKEN cannot see it"),
    ],
)  # fmt: skip
def test_without_access_it_says_what_to_do(
    hub: StandinHub, tmp_path: Path, settings: Repository, token: str | None, reason: str
) -> None:
    hub.settings[NAME] = settings
    with start(hub, tmp_path / "a", **({"HF_TOKEN": token} if token else {})) as replica:
        assert replica.ended() == 78
        assert replica.termination_log.read_text().startswith(reason)
        assert "hf_wrong" not in replica.log.read_text()


def test_a_token_opens_a_gated_repository(hub: StandinHub, tmp_path: Path) -> None:
    hub.settings[NAME] = Repository(gated=True, tokens={"hf_right"})
    with start(hub, tmp_path / "a", HF_TOKEN="hf_right") as replica:
        assert replica.ready().ask({"inputs": "snow"})
        assert "hf_right" not in replica.log.read_text()


def says(replica: Replica, words: str) -> None:
    """Until the replica's own answer about its health says so."""

    def told() -> bool:
        assert replica.process.poll() is None, replica.log.read_text()
        answer = replica.health()
        return answer is not None and answer.status_code == 503 and words in answer.json()["error"]

    eventually(told)


def test_a_hub_that_is_away_is_waited_for(hub: StandinHub, tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        start(hub, tmp_path / "a", HF_ENDPOINT=f"http://127.0.0.1:{port}") as replica,
    ):
        says(replica, f"the Hub could not be reached for {NAME}")
        health = replica.health()
        assert health is not None
        assert health.json()["state"] == "downloading"
        assert "trying again in" in health.json()["error"]
        with StandinHub(hub.folder, port):
            assert replica.ready().ask({"inputs": "snow"})


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble(status=500), "the Hub answered 500"),
        (Trouble(status=429, headers={"Retry-After": "1"}), "the Hub answered 429"),
        (Trouble(damages="model.safetensors"), "model.safetensors arrived damaged"),
    ],
)
def test_a_hub_with_trouble_is_asked_again(
    hub: StandinHub, made: Reference, tmp_path: Path, trouble: Trouble, words: str
) -> None:
    hub.trouble = trouble
    with start(hub, tmp_path / "a") as replica:
        says(replica, words)
        assert "trying again in" in replica.log.read_text()
        hub.trouble = None
        case = made.of(TASK)[0]
        assert_close(replica.ready().ask({"inputs": case.inputs}), case.expected)


def test_a_download_that_stalls_says_so_and_ends_at_once_when_told(hub: StandinHub, tmp_path: Path) -> None:
    with StandinHub(hub.folder) as stalling:
        stalling.trouble = Trouble(stalls_after=5000)
        with start(stalling, tmp_path / "a", HF_HUB_DOWNLOAD_TIMEOUT="600") as replica:
            says(replica, "%, no data for")
            eventually(lambda: any("no data for" in line for line in replica.notifications()))
            replica.terminate()
            assert replica.ended() == 0  # long before the client would give up


def test_without_room_on_the_disk_a_download_waits_for_some(hub: StandinHub, tmp_path: Path) -> None:
    with small_disk(tmp_path / "cache", megabytes=8) as disk:
        fill(disk)
        with start(hub, tmp_path / "a") as replica:
            says(replica, "the disk is full")
            free(disk)
            assert replica.ready().ask({"inputs": "snow"})
