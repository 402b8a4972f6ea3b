"""Every `console` and `python` snippet of the pages, run against one real installation with a stand-in for the Hub."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from inlet.sample import sample_folder
from tests import reference
from tests.e2e.clients import HUB, HUGIE
from tests.e2e.installation import Installation, wait_for
from tests.environments import environment
from tests.other_servers import ARCHIVER, BENTOML, MLFLOW
from tests.standins.hub import StandinHub

from . import pages
from .shell import Shell, commands, normal, shows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
WRITTEN = "http://127.0.0.1:8080"  # as the pages have it
RUN = [page for page in pages.PAGES if any(f.language in ("console", "python") for f in pages.fences(page))]
# These may be asked again. A router may hear of a token, and a log get a line from a pipe, later than the next command comes.
ASKS = re.compile(r"curl |ask\w* |inlet endpoint (list|describe|logs)\b")
ASKED_FOR_S = 60.0
NEEDED = {"docs/reference/serving.md": ("topics", "entities", "minilm", "minilm:features")}


@dataclass(frozen=True)
class World:
    """A newcomer's machine: Inlet runs with its sample, there are models in ~/models, and a Hub."""

    inlet: Installation
    home: Path
    env: dict[str, str]

    def shell(self) -> Shell:
        return Shell(self.env, self.home)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    sample = sample_folder()
    assert sample is not None
    with tempfile.TemporaryDirectory(prefix="inlet-") as name, StandinHub(Path(name) / "hub") as hub:
        home = Path(name) / "user"
        _models(home, sample)
        _environments(home)
        _forget_told_addresses(home)
        shutil.copytree(sample, hub.folder / "sentence-transformers" / "all-MiniLM-L6-v2")
        inlet = Installation(
            Path(name) / "state",
            env={"INLET_TOKEN": "", "HOME": str(home), "HF_ENDPOINT": hub.url, "INLET_ALLOW_COMMANDS": "1"},
            args=("--sample",),
        )
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("INLET_", "HF_"))}
        env = clean | {
            "HOME": str(home), "INLET_HOME": str(inlet.home), "HF_ENDPOINT": hub.url, "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        }  # fmt: skip
        try:
            inlet.start()
            wait_for("the sample's answer", lambda: "Ctrl-C stops everything" in inlet.output(), within=60)
            yield World(inlet, home, env)
            assert inlet.stop() == 0
        finally:
            inlet.kill()
            _forget_told_addresses(home)


def _forget_told_addresses(home: Path) -> None:
    """These environments are kept, for other tests as well; a run that was killed has left them as they were."""
    for told_address in home.glob("*-env/lib/*/site-packages/sitecustomize.py"):
        told_address.unlink()


def _models(home: Path, sample: Path) -> None:
    models = home / "models"
    shutil.copytree(sample, models / "minilm")
    shutil.copytree(sample, models / "broken")
    weights = models / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    for name in ("topics", "entities"):
        shutil.copytree(reference.reference().model(name), models / name)


def _environments(home: Path) -> None:
    """What the pages install with pip."""
    for name, python in (
        ("train-env", reference.python()),
        ("hf-env", environment("hub-2.4.0", *HUB["2.4.0"])),
        ("hugie-env", environment("hugie-0.4.0", *HUGIE)),
        ("archiver-env", environment("torch-model-archiver", *ARCHIVER)),
        ("mlflow-env", environment("mlflow", *MLFLOW)),
        ("bento-env", environment("bentoml", *BENTOML)),
    ):
        (home / name).symlink_to(python.parents[1])


@pytest.mark.parametrize("page", RUN, ids=pages.name)
def test_the_snippets_of_a_page(page: Path, world: World) -> None:
    shell = world.shell()
    try:
        for needed in NEEDED.get(pages.name(page), ()):
            model, _, name = needed.partition(":")
            task = " --task feature-extraction" if name == "features" else ""
            told, status = shell.run(f"inlet deploy ~/models/{model} --name {name or model}{task}")
            assert status == 0, told
        _run(page, world, shell)
    finally:
        told, _ = shell.run("unset INLET_API_TOKEN; inlet endpoint list --output json")
        for endpoint in json.loads(told)["items"]:
            if endpoint["name"] != "sample":
                shell.run(f"inlet endpoint delete {endpoint['name']} --yes")
        shell.close()


def _run(page: Path, world: World, shell: Shell) -> None:
    fences = pages.fences(page)
    for fence, after in zip(fences, [*fences[1:], None], strict=True):
        where = f"{pages.name(page)}:{fence.line}"
        if fence.title is not None:
            folder, _ = shell.run("pwd")
            (Path(folder.strip()) / fence.title).write_text(fence.text)
        elif not fence.run:
            continue
        elif fence.language == "console":
            for command, output in commands(fence.text):
                _check(where, command, output, world, shell)
        elif fence.language == "python":
            (world.home / "snippet.py").write_text(fence.text.replace(WRITTEN, world.inlet.url))
            output = after.text if after is not None and after.language == "text" else ""
            _check(where, "python ~/snippet.py", output, world, shell)


def _check(where: str, command: str, expected: str, world: World, shell: Shell) -> None:
    deadline = time.monotonic() + ASKED_FOR_S
    while True:
        told, status = shell.run(command.replace(WRITTEN, world.inlet.url))
        told = told.replace(world.inlet.url, WRITTEN)
        if shows(expected, told) or not ASKS.match(command) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert shows(expected, told), f"{where}\n$ {command}\n{told}\n--- but the page says\n{expected}"
    failing = any(line.startswith("Error:") for line in expected.splitlines())
    assert (status != 0) == failing, f"{where}\n$ {command}\nended with {status}:\n{told}"
    if asleep := re.search(r"inlet endpoint scale-to-zero (\S+)", command):
        wait_for("the router to hear of it", lambda: _sleeps(world, asleep[1]), within=60)


def _sleeps(world: World, name: str) -> bool:
    """Whether a request would wake it, and reach no replica that is about to leave. To ask for health wakes nobody."""
    token = json.loads((world.inlet.home / "context.json").read_bytes())["token"]
    headers = {"Authorization": f"Bearer {token}", "X-Scale-Up-Timeout": "0"}
    answer = httpx.get(f"{world.inlet.url}/default/{name}/health", headers=headers, timeout=60)
    return answer.status_code == 503 and answer.json().get("state") == "scaledToZero"


def test_the_picture_shows_what_a_first_start_prints(world: World) -> None:
    svg = (pages.ROOT / "docs" / "images" / "up.svg").read_text()
    rows: dict[str, str] = {}
    for at, text in re.findall(r'<text [^>]*? y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        rows[at] = rows.get(at, "") + html.unescape(text).replace("\xa0", " ")
    shown = re.sub(r"inl_…", "TOKEN", "\n".join(rows.values()))
    drawn = set(normal(shown))
    for line in normal(world.inlet.output().replace(world.inlet.url, WRITTEN)):
        if not line.startswith(("State", "-H", "curl")):
            assert line in drawn, f"the picture lacks: {line}"
