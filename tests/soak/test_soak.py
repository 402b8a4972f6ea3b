"""A hundred thousand requests, many of which go wrong: memory, open files and threads of every process stay flat.

How many: `SOAK_REQUESTS` for the router alone, a tenth of that for a whole installation with the sample model; `make
soak` makes millions. The samples are left in `.cache/soak`.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvloop

from inlet.core.access import Grant, Permission
from inlet.core.routes import Upstream
from inlet.sample import sample_folder
from inlet.settings import Settings
from tests.e2e.installation import TOKEN, Installation, installation, replica_id, wait_for
from tests.router.world import SECRET, Link, route, token

from . import echo
from .callers import Callers, Kind
from .curves import SAMPLES, Curves

REQUESTS = int(os.environ.get("SOAK_REQUESTS", "100000"))
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600 + REQUESTS // 100)]
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".cache" / "soak"
CONCURRENCY = 16
SEED = 4
KILLS = 6
SIMILARITY = b'{"inputs": {"source_sentence": "a cat", "sentences": ["%b"]}}'


def kinds(path: str, secret: str, body: bytes) -> list[Kind]:
    """Callers of one endpoint, without the failures of its replicas."""
    return [
        Kind("plain", 80, path, secret, body),
        Kind("new connection", 7, path, secret, body, fresh=True),
        Kind("unknown token", 3, path, "inl_nobody", body, answers=frozenset({401})),
        Kind("unknown endpoint", 3, f"{path}-not-there", secret, body, answers=frozenset({404})),
        Kind("hangs up", 2, path, secret, body, leaves=1.0),
        Kind("hangs up within its body", 1, path, secret, body, leaves=0.98),
        Kind("hangs up within its head", 1, path, secret, body, leaves=0.4),
    ]


def kinds_of_a_failing_replica(path: str, secret: str) -> list[Kind]:
    """Requests that make the echo fail, in each of its ways."""
    return [
        Kind("replica says 500", 1, path, secret, echo.ERROR, answers=frozenset({500})),
        Kind("replica closes", 1, path, secret, echo.CRASH, answers=frozenset({502})),
        Kind("replica closes within its answer", 0.5, path, secret, echo.CUT, answers=frozenset({502})),
        Kind("replica answers garbage", 0.5, path, secret, echo.GARBAGE, answers=frozenset({502})),
    ]


def kinds_of_texts(path: str, secret: str) -> list[Kind]:
    """Sentences of many lengths, and one request that the model's replica refuses."""
    words = ["Refunds", "are", "paid", "within", "five", "days", "unless", "the", "bank", "is", "closed"]
    rng = random.Random(SEED)
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(8)]
    return [
        *(Kind(f"text {n}", 2, path, secret, SIMILARITY % text.encode()) for n, text in enumerate(texts)),
        Kind("no JSON", 1, path, secret, b"{", answers=frozenset({400})),
    ]


def kinds_for_control(secret: str) -> list[Kind]:
    """Of the API: what is there, what is not, what is wrong."""
    path = "/v2/endpoint/default"
    return [
        Kind("list", 0.5, path, secret, method="GET"),
        Kind("describe", 0.5, f"{path}/steady", secret, method="GET"),
        Kind("not there", 0.5, f"{path}/nothing", secret, method="GET", answers=frozenset({404})),
        Kind("invalid", 0.5, path, secret, b'{"name": 1}', answers=frozenset({400, 422})),
    ]


def test_the_router_alone(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/default/mini"
    callers = [*kinds(path, SECRET, b'{"inputs": "a short text"}'), *kinds_of_a_failing_replica(path, SECRET)]
    with (
        tempfile.TemporaryDirectory(prefix="inlet-") as name,
        router_and_echo(Path(name)) as (router, port, link),
    ):
        curves = Curves({"router": router})
        load = Callers(port, callers, seed=SEED)
        before = router.num_fds()

        async def run() -> None:
            async with link:
                link.publish(
                    (route(Upstream("echo", f"unix:{name}/echo")),), (token(SECRET, Grant(Permission.INFER)),)
                )
                await load.run(REQUESTS, concurrency=CONCURRENCY, samples=SAMPLES, sample=curves.sample)

        curves.sample(0)
        uvloop.run(run())
        told(capsys, curves, load, "router")
        assert curves.growing() == []
        # Of the connections, those to the replica may be kept for a minute, and be more than there were callers at a time
        # (some did not wait for their answer); those of callers are gone.
        wait_for(
            "end of the callers' connections", lambda: router.num_fds() <= before + CONCURRENCY, within=120
        )


@contextmanager
def router_and_echo(folder: Path) -> Iterator[tuple[psutil.Process, int, Link]]:
    """The router's process and port, and the link that it asks for a table."""
    settings = Settings(home=folder)
    settings.run_dir.mkdir(mode=0o700)
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        fd = listening.fileno()
        env = {**os.environ, "INLET_HOME": str(folder), "INLET_LOG_LEVEL": "error"}
        for command in ([sys.executable, "-m", "tests.soak.echo", str(folder / "echo")],
                        [sys.executable, "-m", "inlet.router", "--fd", str(fd)]):  # fmt: skip
            process = stack.enter_context(subprocess.Popen(command, env=env, pass_fds=[fd], cwd=ROOT))
            stack.callback(process.terminate)
        port = listening.getsockname()[1]
        wait_for("echo", (folder / "echo").exists)
        # Connects are taken in before the router runs: it is there when it answers.
        wait_for(
            "router", lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
        )
        yield psutil.Process(process.pid), port, Link(settings.link_socket)


def told(capsys: pytest.CaptureFixture[str], curves: Curves, load: Callers, name: str) -> None:
    """Keep the samples, and show them to whoever watches."""
    curves.store(
        RESULTS / f"{name}.json",
        answers={f"{kind}: {status}": n for (kind, status), n in load.answers.items()},
    )
    with capsys.disabled():
        print(f"\n{curves.table()}")


def test_a_whole_installation_with_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    model = sample_folder()
    assert model is not None, "make test installs the sample model"
    with tempfile.TemporaryDirectory(prefix="inlet-") as name, installation(Path(name) / "home") as inlet:
        for endpoint in ("steady", "failing"):
            inlet.create(endpoint, str(model), model__task="sentence-similarity")
            inlet.wait_for_state(endpoint, "running")
        steady, failing = "/default/steady", "/default/failing"
        callers = [
            *kinds(steady, TOKEN, SIMILARITY % b"a kitten"),
            *kinds_of_texts(steady, TOKEN),
            *kinds_for_control(TOKEN),
            Kind("replica is killed now and then", 3, failing, TOKEN, SIMILARITY % b"a kitten",
                 answers=frozenset({200, 502, 503})),
        ]  # fmt: skip
        replica = replica_of(inlet, "steady")
        assert inlet.parent is not None
        curves = Curves(
            {
                "parent": psutil.Process(inlet.parent.pid),
                "control": inlet.child("inlet.control"),
                "router": inlet.child("inlet.router"),
                "keeper": psutil.Process(replica.ppid()),
                "replica": replica,
            }
        )
        load = Callers(inlet.port, callers, seed=SEED)

        def sample(requests: int) -> None:
            curves.sample(requests)
            if len(curves.requests) % (SAMPLES // KILLS) == 0:
                for other in inlet.replicas():
                    if other != replica:
                        with suppress(psutil.NoSuchProcess):
                            other.kill()

        curves.sample(0)
        uvloop.run(load.run(REQUESTS // 10, concurrency=CONCURRENCY, samples=SAMPLES, sample=sample))
        told(capsys, curves, load, "installation")
        assert curves.growing() == []


def replica_of(inlet: Installation, endpoint: str) -> psutil.Process:
    """The process of the endpoint's one replica."""
    (item,) = inlet.api.get(f"/v2/endpoint/default/{endpoint}/replica").json()["items"]
    return next(p for p in inlet.replicas() if replica_id(p) == item["id"])
