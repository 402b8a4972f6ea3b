"""Several `inlet up` on one database, as processes: one leads, all of them answer, and any may die."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .installation import TOKEN, Installation, wait_for
from .prober import Prober

BODY = {"inputs": "How do I get my money back?"}
TAKEN_WITHIN_S = 90.0  # ten seconds of silence, and a busy machine

Pair = tuple[Installation, Installation]


@pytest.fixture(params=["a server"])
def url_of_database(request: pytest.FixtureRequest, home: Path) -> str:
    """Of PostgreSQL where there is one or one can be installed, else of SQLite like that of `a file`."""
    if request.param == "a server":
        with contextlib.suppress(pytest.skip.Exception):
            server: Any = request.getfixturevalue("postgresql")
            return str(server.database().render_as_string(hide_password=False))
    return f"sqlite:///{home.parent}/shared.db"


@pytest.fixture
def pair(url_of_database: str, home: Path) -> Iterator[Pair]:
    """Two started installations on one database; the first leads."""
    env = {
        "INLET_DATABASE_URL": url_of_database,
        "INLET_SECRET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
    }
    with ExitStack() as stack:
        both = []
        for name in ("a", "b"):
            inlet = Installation(home.with_name(name), env)
            stack.callback(inlet.kill)
            inlet.start()
            wait_for("a leader", lambda i=inlet: about(i)["leader"])
            both.append(inlet)
        a, b = both
        wait_for("a to lead alone", leading(a, b))
        yield a, b
        with ThreadPoolExecutor(len(both)) as pool:
            assert [*pool.map(Installation.stop, both)] == [0, 0]
        for inlet in both:
            inlet.wait_for_end()


def about(inlet: Installation) -> dict[str, Any]:
    answer = inlet.api.get("/api/inlet/about")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["control"])


def leads(inlet: Installation) -> bool:
    return bool(about(inlet)["leads"])


def leading(leader: Installation, follower: Installation) -> Callable[[], bool]:
    """Whether it is like this. A leader that stood still for some seconds does not lead until its next renewal."""
    return lambda: (leads(leader), leads(follower)) == (True, False)


def serve(at: Installation, model: Path, name: str = "probed", **changes: Any) -> None:
    at.create(name, str(model), model__task="feature-extraction", **changes)
    at.wait_for_state(name, "running")


def path_to(inlet: Installation, name: str = "probed") -> str:
    return f"{inlet.url}/default/{name}"


def answers(inlet: Installation, name: str = "probed", token: str = TOKEN) -> int:
    url, headers = path_to(inlet, name), {"Authorization": f"Bearer {token}"}
    return httpx.post(url, json=BODY, headers=headers, timeout=70.0).status_code


def kill_all(inlet: Installation) -> None:
    """kill -9 of parent, control and router; replicas are not theirs to take along."""
    assert inlet.parent is not None
    for process in (
        inlet.child("inlet.control"),
        inlet.child("inlet.router"),
        psutil.Process(inlet.parent.pid),
    ):
        process.kill()
    inlet.parent.wait(60)


def in_log(inlet: Installation, event: str) -> int:
    """How often control said this."""
    return (inlet.home / "logs" / "control.log").read_text().count(f'"{event}"')


def wait_until_known(*installations: Installation) -> None:
    """A follower's router hears of an endpoint by the next look at the leader's sight, half a second later."""
    for inlet in installations:
        wait_for("the endpoint there", lambda i=inlet: answers(i) == 200)


@contextmanager
def probed(*installations: Installation) -> Iterator[list[Prober]]:
    """Constant load through each router."""
    with ExitStack() as stack:
        yield [stack.enter_context(Prober(path_to(i), TOKEN, BODY, rate=15)) for i in installations]


@pytest.mark.parametrize("url_of_database", ["a file", "a server"], indirect=True)
def test_everything_of_the_leader_is_killed_and_comes_back(pair: Pair, sample_model: Path) -> None:
    a, b = pair
    serve(b, sample_model)
    asleep = {"compute__scaling__minReplica": 0, "model__secrets": {"KEY": "hush"}}
    serve(a, sample_model, "asleep", **asleep)
    assert b.api.post("/v2/endpoint/default/asleep/scale-to-zero").status_code == 200
    infer = b.token("infer")
    wait_for("only one replica", lambda: len(a.replicas()) == 1)
    assert b.replicas() == []
    for inlet in (a, b):
        wait_for("the token there", lambda i=inlet: answers(i, token=infer) == 200)
    events = b.api.get("/v2/endpoint/default").json()
    left = {p.pid for p in a.replicas()}

    with probed(b) as (through_b,):
        through_b.wait_for(30)
        kill_all(a)
        wait_for("b to lead", lambda: leads(b), within=TAKEN_WITHIN_S)
        wait_for("replicas of b", b.replicas, within=TAKEN_WITHIN_S)
        b.wait_for_state("probed", "running")
        through_b.wait_for(30)
        assert {p.pid for p in a.replicas()} == left, "nobody but their own control may touch them"
        # Nothing was forgotten.
        names = [e["name"] for e in b.api.get("/v2/endpoint/default").json()["items"]]
        assert sorted(names) == ["asleep", "probed"] == sorted(e["name"] for e in events["items"])
        assert answers(b, token=infer) == 200
        assert answers(b, "asleep") == 200, "it wakes, and its secret is opened"

        a.start()
        wait_for("what a had left to be gone", lambda: not a.replicas(), within=TAKEN_WITHIN_S)
        wait_for("b to lead on", leading(b, a))
        with probed(a) as (through_a,):
            through_a.wait_for(30)
            through_b.wait_for(30)
    assert through_a.failed == []
    assert through_b.failed == []
    assert (in_log(a, "lead_taken"), in_log(b, "lead_taken")) == (1, 1)


def test_only_the_control_of_the_leader_is_killed(pair: Pair, sample_model: Path) -> None:
    a, b = pair
    serve(a, sample_model)
    wait_until_known(a, b)
    replicas = {p.pid for p in a.replicas()}
    with probed(a, b) as probers:
        for prober in probers:
            prober.wait_for(20)
        killed = a.child("inlet.control")
        begin = time.monotonic()
        killed.kill()
        killed.wait(60)
        wait_for("a's control", a.is_ready)
        wait_for("one to lead", lambda: leads(a) or leads(b))
        took = time.monotonic() - begin
        for prober in probers:
            prober.wait_for(60)
    assert [p.failed for p in probers] == [[], []]
    if took < 5:  # b would rightly lead if this machine took ten seconds to start a's control
        assert leads(a)
        assert in_log(b, "lead_taken") == 0
        assert {p.pid for p in a.replicas()} == replicas


def test_a_leader_that_stood_still_follows(pair: Pair, sample_model: Path) -> None:
    a, b = pair
    serve(a, sample_model)
    wait_until_known(a, b)
    stopped = a.child("inlet.control")
    with probed(a, b) as probers:
        for prober in probers:
            prober.wait_for(20)
        stopped.send_signal(signal.SIGSTOP)
        try:
            wait_for("b to lead", lambda: leads(b), within=TAKEN_WITHIN_S)
            before = {p.pid for p in a.replicas()}
            answer = b.api.put("/v2/endpoint/default/probed", json={"model": {"env": {"A": "1"}}})
            assert answer.status_code == 200, answer.text
            b.wait_for_state("probed", "running")
            assert {p.pid for p in a.replicas()} == before
        finally:
            stopped.send_signal(signal.SIGCONT)
        wait_for("what a had left to be gone", lambda: not a.replicas(), within=TAKEN_WITHIN_S)
        wait_for("b to lead on", leading(b, a))
        for prober in probers:
            prober.wait_for(20)
    assert [p.failed for p in probers] == [[], []]
    for inlet in (a, b):
        wait_for("the second revision alone", revision(inlet, 2))
    assert len(b.replicas()) == 1
    assert stopped.is_running(), "it was the same process all the time"
    assert in_log(a, "lead_taken") == 1


def test_ctrl_c_hands_the_lead_over_and_either_answers_everything(pair: Pair, sample_model: Path) -> None:
    a, b = pair
    serve(b, sample_model, compute__scaling__minReplica=0)
    # What is elsewhere is said to be there.
    answer = b.api.get("/v2/endpoint/default/probed/logs")
    assert (answer.status_code, a.url in answer.text) == (421, True), answer.text
    assert b.api.get("/v2/endpoint/default/probed/logs", params={"follow": "true"}).status_code == 421
    assert a.api.get("/v2/endpoint/default/probed/logs").status_code == 200
    # Either knows by and by what the other sees.
    wait_for("its replica", lambda: len(replicas_of(b).get("items", ())) == 1)
    wait_for("the follower", lambda: about(a)["followers"] == [b.url])
    wait_for("the same at b", lambda: about(b) == {**about(a), "leads": False})
    # Tokens.
    for here, there in ((a, b), (b, a)):
        token = here.token("infer")
        wait_for("the token there", lambda t=token, i=there: answers(i, token=t) == 200)
        known = here.api.get("/api/inlet/tokens").json()["items"]
        id_ = next(t["id"] for t in known if t["name"] == "infer" and not t["revokedAt"])
        assert here.api.delete(f"/api/inlet/tokens/{id_}").status_code == 200
        wait_for("the token forgotten there", lambda t=token, i=there: answers(i, token=t) == 401)
    # A request anywhere wakes.
    assert a.api.post("/v2/endpoint/default/probed/scale-to-zero").status_code == 200
    wait_for("sleep", lambda: not a.replicas())
    assert answers(b) == 200
    with probed(b) as (through_b,):
        through_b.wait_for(10)
        a.stop()
        a.wait_for_end()
        assert in_log(a, "lead_given_up") == 1, "b need not wait until it has run out"
        wait_for("b to lead", lambda: leads(b))
        b.wait_for_state("probed", "running")
        through_b.wait_for(20)
    assert through_b.failed == []
    a.start()
    assert not leads(a)


def test_intents_at_all_controls_at_once_are_answered_truly(pair: Pair, sample_model: Path) -> None:
    """Each answer is about the record as it then was: what was taken is there, once, and what was refused is not."""
    a, b = pair
    serve(a, sample_model)
    gate = threading.Barrier(6)

    def put(job: tuple[int, Installation]) -> list[tuple[str, int, Any]]:
        worker, inlet = job
        with httpx.Client(base_url=inlet.url, headers=dict(inlet.api.headers), timeout=70.0) as client:
            gate.wait(60)
            results = []
            for turn in range(10):
                tag = f"w{worker}-{turn}"
                body = {"tags": [tag]} if turn % 2 else {"model": {"env": {"TAG": tag}}}
                answer = client.put("/v2/endpoint/default/probed", json=body)
                results.append((tag, answer.status_code, answer.json()))
            return results

    with ThreadPoolExecutor(6) as pool:
        results = [r for found in pool.map(put, [(n, (a, b)[n % 2]) for n in range(6)]) for r in found]
    assert {status for _, status, _ in results} <= {200, 409}
    taken = {tag: body for tag, status, body in results if status == 200}
    assert len(taken) >= 10
    for tag, body in taken.items():
        assert tag in (body["model"]["env"].get("TAG"), *body["tags"]), "it tells of its own change"
    final = [i.endpoint("probed") for i in (a, b)]
    assert final[0]["model"] == final[1]["model"]
    assert final[0]["tags"] == final[1]["tags"]
    assert final[0]["model"]["env"]["TAG"] in taken
    assert set(final[0]["tags"]) <= set(taken)
    changed = sum(
        "env" in str(body["model"]) and int(tag.split("-")[1]) % 2 == 0 for tag, body in taken.items()
    )
    done = b.wait_for_state("probed", "running")
    wait_for("the last revision alone", revision(b, 1 + changed), within=120)
    assert done["model"]["env"] == final[0]["model"]["env"]
    assert len(a.replicas()) == 1


def replicas_of(inlet: Installation) -> dict[str, Any]:
    """What the API says of them: no items as long as this control does not know what the one that leads sees."""
    return dict(inlet.api.get("/v2/endpoint/default/probed/replica").json())


def revision(inlet: Installation, number: int) -> Callable[[], bool]:
    """Whether only replicas of that revision are there: one for each change that was taken, and none for others."""

    def check() -> bool:
        return {item["id"].split("-")[1] for item in replicas_of(inlet).get("items", ())} == {f"r{number}"}

    return check
