"""Every task on a small model, through the router: by the official clients, and by plain requests of one and of several inputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from inlet.runtime.pipelines.tasks import TASKS
from inlet.runtime.tasks import TASKS as FAST
from tests.environments import environment
from tests.reference import ROOT, python

from .calling import shape
from .clients import HUB
from .installation import TOKEN, Installation, installation
from .javascript import package
from .tasks import PICTURE, RECORDING, SERVED

AT_ONCE = 2
"""Endpoints: each has a process with torch."""
JAVASCRIPT = ("@huggingface/inference", "4.13.30")
# Speech is audio; what ranks is asked by no client (tests/runtime/test_ranking.py).
ELSEWHERE = {"text-to-audio", "text-ranking"}
# Clients that have no method for it, or none that our answers can suit.
WITHOUT = {
    ("0.23.5", "document-question-answering"),  # it sends no words, and none are read from the image here
    ("JavaScript", "text-generation"),  # it wants OpenAI's routes, which llama.cpp has
}


class Asker:
    """One client's process; of several threads one asks at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._turn = process, threading.Lock()

    def ask(self, task: str, url: str) -> dict[str, Any]:
        """The shape of what each of its calls for the task gave."""
        line = json.dumps({"task": task, "url": url, "image": PICTURE, "sound": RECORDING})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))


@contextmanager
def asker(*command: str | Path) -> Iterator[Asker]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("INLET_", "HF_"))}
    with subprocess.Popen(
        command, env={**env, "HF_TOKEN": TOKEN}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Asker(process)
        finally:
            process.kill()  # it has nothing to save


@pytest.fixture(scope="module")
def askers() -> Iterator[Mapping[str, Asker]]:
    """One of each version of the official clients; vectors and masks need numpy and Pillow."""
    here = Path(__file__).parent
    with ExitStack() as stack:
        made = {
            version: stack.enter_context(
                asker(environment(f"tasks-{version}", *packages, "numpy", "pillow"), here / "calling.py")
            )
            for version, packages in HUB.items()
        }
        if node := shutil.which("node"):
            made["JavaScript"] = stack.enter_context(asker(node, here / "calling.mjs", package(*JAVASCRIPT)))
        yield made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    names = sorted({served.model for served in SERVED.values()})
    command = "import sys, pathlib, tests.pipelines.models as m; [m.make(n, pathlib.Path(sys.argv[1])) for n in sys.argv[2:]]"
    subprocess.run([python(), "-c", command, folder, *names], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def told(askers: Mapping[str, Asker], models: Path) -> Iterator[Mapping[str, Future[dict[str, Any]]]]:
    """By task what is found out about its endpoint, a few endpoints at a time."""
    with (
        tempfile.TemporaryDirectory(prefix="inlet-") as folder,
        installation(
            Path(folder) / "home", {"INLET_MODELS": str(models)}, program=python().with_name("inlet")
        ) as inlet,
    ):
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            yield {task: pool.submit(found_out, inlet, askers, models, task) for task in SERVED}
        finally:
            pool.shutdown(cancel_futures=True)


def found_out(inlet: Installation, askers: Mapping[str, Asker], models: Path, task: str) -> dict[str, Any]:
    """What an endpoint with this task says; it is there only meanwhile."""
    served = SERVED[task]
    inlet.create(task, str(models / served.model), model__task=task)
    inlet.wait_for_state(task, "running")
    url = f"{inlet.url}/default/{task}"

    def post(inputs: Any) -> httpx.Response:
        return inlet.api.post(url, json={"inputs": inputs, "parameters": served.parameters})

    found = {
        "one": post(
            served.inputs
        ),  # first: the router may hear a moment later that it runs, and holds no GET
        "info": inlet.api.get(f"{url}/info"),
        "two": post([served.inputs, served.inputs]),
        "clients": {name: asker.ask(task, url) for name, asker in askers.items()},
    }
    inlet.delete(task)
    return found


def test_every_task_is_here() -> None:
    assert set(SERVED) == {*TASKS, *FAST} - ELSEWHERE


@pytest.mark.parametrize("task", SERVED)
def test_every_client_understands_every_answer(told: Mapping[str, Future[dict[str, Any]]], task: str) -> None:
    served, found = SERVED[task], told[task].result()
    assert found["info"].status_code == 200, found["info"].text
    assert found["info"].json()["engine"] == served.engine
    assert found["one"].status_code == 200, found["one"].text
    assert shape(found["one"].json()) == served.answer
    if served.answers is None:
        assert found["two"].status_code in (400, 413), found["two"].text
    else:
        assert found["two"].status_code == 200, found["two"].text
        assert shape(found["two"].json()) == served.answers
    for client, calls in found["clients"].items():
        assert calls or served.clients is None or (client, task) in WITHOUT, client
        for name, answer in calls.items():
            assert answer == served.named.get(name, served.clients), (client, name)


def test_javascript_is_among_them(askers: Mapping[str, Asker]) -> None:
    if "JavaScript" not in askers:
        pytest.skip("needs node on the PATH")
