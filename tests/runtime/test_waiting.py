"""How long a request may wait and how much may wait: `X-Inlet-Timeout`, and the bound on bodies, in the application itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from inlet.runtime.app import App
from inlet.runtime.encoding import Encoding
from inlet.runtime.loader import load
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options, parse
from inlet.runtime.replica import Replica
from tests.reference import Reference
from tests.runtime.process import Replica as Process
from tests.runtime.process import eventually
from tests.runtime.test_batcher import GatedLane, batching

NONSENSE = ["-1", "-0.001", "nan", "inf", "1e999", "soon", "", "1,5"]


@pytest.mark.parametrize("seconds", NONSENSE)
def test_a_time_to_wait_that_is_none_is_refused_by_name(
    replica: Callable[[str, str], Process], seconds: str
) -> None:
    classifier = replica("topics", "text-classification")
    answer = classifier.post({"inputs": "snow"}, **{"x-inlet-timeout": seconds})
    assert answer.status_code == 400
    assert answer.json() == {"error": "X-Inlet-Timeout: send a number of seconds, 0 or more"}


@pytest.mark.parametrize("seconds", ["0", "1e-9", "0.5", "1e308"])
def test_any_time_to_wait_is_answered_at_once_or_in_time(
    replica: Callable[[str, str], Process], seconds: str
) -> None:
    """With no time at all it is computed if the engine is free, and not while that is shown a form."""
    classifier = replica("topics", "text-classification")

    def answered() -> bool:
        answer = classifier.post({"inputs": "snow"}, **{"x-inlet-timeout": seconds})
        assert answer.status_code in (200, 429), answer.text
        return answer.status_code == 200

    eventually(answered)


class Caller:
    """One request to the application, as the server would bring it."""

    def __init__(self, app: App, value: Any, **headers: str) -> None:
        content = json.dumps(value).encode()
        scope = {
            "type": "http", "method": "POST", "path": "/", "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        self.hung_up = asyncio.Event()
        self._sent: list[Any] = []
        self._body = [{"type": "http.request", "body": content}]
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._body:
            return self._body.pop()
        await self.hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._sent.append(message)

    async def answer(self) -> tuple[int, str]:
        await self.task
        start, body = self._sent
        return start["status"], body["body"].decode()


def options(made: Reference) -> Options:
    flags = ["--model", str(made.model("topics")), "--task", "text-classification", "--port", "1"]
    return parse(flags, {})


@contextmanager
def serving(made: Reference, lane: GatedLane) -> Iterator[tuple[App, Metrics]]:
    """An application whose inferences wait for the test's permission."""
    loaded, metrics, replica = load(options(made), lambda *_: None), Metrics(), Replica()
    with batching(lane) as batcher:
        replica.become_ready(Encoding(loaded, batcher))
        yield App(options(made), replica, metrics), metrics


async def test_before_it_is_ready_the_time_to_wait_is_judged_as_ever(made: Reference) -> None:
    app = App(options(made), Replica(), Metrics())
    for seconds in NONSENSE:
        status, text = await Caller(app, {"inputs": "snow"}, x_inlet_timeout=seconds).answer()
        assert (status, "X-Inlet-Timeout: send a number" in text) == (400, True)
    for seconds in ("0", "10"):
        status, text = await Caller(app, {"inputs": "snow"}, x_inlet_timeout=seconds).answer()
        assert (status, "not ready yet" in text) == (503, True)


async def test_without_time_to_wait_a_request_behind_another_is_refused_at_once(made: Reference) -> None:
    lane = GatedLane(results=3)
    with serving(made, lane) as (app, _):
        first = Caller(app, {"inputs": "snow"})
        await asyncio.to_thread(eventually, lambda: lane.shapes)
        status, text = await Caller(app, {"inputs": "snow"}, x_inlet_timeout="0").answer()
        assert (status, "not begun within the time" in text) == (429, True)
        lane.permits.release(10)
        assert (await first.answer())[0] == 200


async def test_bodies_in_hand_are_bounded(made: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inlet.runtime.app.MOST_BYTES", 50_000)
    lane = GatedLane(results=3)
    with serving(made, lane) as (app, _):
        large = {"inputs": "snow", "options": {"beside": "x" * 49_000}}
        held = Caller(app, large)
        await asyncio.to_thread(eventually, lambda: lane.shapes)
        status, text = await Caller(app, large).answer()
        assert status == 429
        assert "overloaded: requests in hand have 49" in text
        small = Caller(app, {"inputs": "snow"})
        lane.permits.release(10)
        assert [(await caller.answer())[0] for caller in (held, small)] == [200, 200]
        assert (await Caller(app, large).answer())[0] == 200


async def test_a_caller_that_hangs_up_ends_its_own_work_only(made: Reference) -> None:
    lane = GatedLane(results=3)
    with serving(made, lane) as (app, metrics):
        computing, waiting = Caller(app, {"inputs": "snow"}), Caller(app, {"inputs": "snow"})
        await asyncio.to_thread(eventually, lambda: lane.shapes)
        gone = Caller(app, {"inputs": "snow"})
        await asyncio.sleep(0)
        gone.hung_up.set()
        await gone.task
        lane.permits.release(10)
        assert [(await caller.answer())[0] for caller in (computing, waiting)] == [200, 200]
        for late in (computing, waiting):  # after the answer nothing listens
            late.hung_up.set()
        assert 'inlet_replica_requests_total{status="499"} 1.0' in metrics.render().decode()
    assert lane.shapes == [(1, 8), (1, 8)]
