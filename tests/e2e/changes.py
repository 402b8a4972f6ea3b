"""The changes that are made under load: to an endpoint, to its replicas, and to each process of an installation.

Called by `bars.py`, which says what a caller may notice of each. A change returns when all is as it should be again, and
fails when that takes too long or when something else changed as well; what callers met in between is not judged here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.system import has_ended

from .installation import Installation, replica_id, wait_for
from .prober import Probe, Prober

BACK_WITHIN_S = 90.0  # far more than it takes: how long it did is measured
QUESTION = "How do I get my money back?"
QUICK = {"inputs": {"source_sentence": QUESTION, "sentences": ["The sky is blue."]}}
SLOW = {
    "inputs": {"source_sentence": QUESTION, "sentences": ["Refunds are paid within five days. " * 14] * 3}
}
BURST = 24  # of the slow ones


@dataclass(frozen=True)
class Outage:
    """Monotonic seconds: when a process was told to end, when it was gone and its sockets with it, when all was as before."""

    killed: float
    gone: float
    back: float

    def met(self, probe: Probe) -> bool:
        """Whether the request was in flight at some time while the process died."""
        return probe.sent <= self.gone and self.killed <= probe.ended


@dataclass(frozen=True)
class Stage:
    """What a change acts on: the endpoint `name` of `inlet`, under the load of `prober`."""

    inlet: Installation
    name: str
    prober: Prober
    model: Path

    @property
    def path(self) -> str:
        return f"/v2/endpoint/default/{self.name}"

    def put(self, body: Mapping[str, Any]) -> str:
        """Update the endpoint; the state that this leads to."""
        answer = self.inlet.api.put(self.path, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"]["state"])

    def wait_for_replicas(self, n: int, *, other_than: Iterable[int] = ()) -> None:
        """Until exactly `n` run, control knows that all are ready, and none is one of the processes `other_than`."""

        def reached() -> bool:
            items = self.inlet.api.get(f"{self.path}/replica").json()["items"]
            known = {item["id"] for item in items if item["status"]["stage"] == "running"}
            found = self.inlet.replicas()
            status = self.inlet.endpoint(self.name)["status"]
            return (
                status["state"] == "running"
                and status["readyReplica"] == n == len(found)
                and known == {replica_id(p) for p in found}
                and not {p.pid for p in found} & {*other_than}
            )

        wait_for(f"{n} replicas of {self.name}", reached, within=120)


# Replicas


def terminate_a_replica(stage: Stage) -> None:
    """SIGTERM: it drains, and another takes its place."""
    replicas = stage.inlet.replicas()
    replicas[0].send_signal(signal.SIGTERM)
    stage.wait_for_replicas(len(replicas), other_than=[replicas[0].pid])


def kill_an_idle_replica(stage: Stage) -> Outage:
    """SIGKILL in a moment in which none of our requests is in flight."""
    replicas = stage.inlet.replicas()
    with stage.prober.silence():
        killed = time.monotonic()
        replicas[0].kill()
    replicas[0].wait(BACK_WITHIN_S)
    gone = time.monotonic()
    stage.wait_for_replicas(len(replicas), other_than=[replicas[0].pid])
    return Outage(killed, gone, time.monotonic())


def kill_a_busy_replica(stage: Stage) -> Outage:
    """SIGKILL while it works on several requests, by its own account."""
    replicas = stage.inlet.replicas()
    stage.prober.wait_for(200)  # until the router has as many connections as this load needs
    with ExitStack() as stack:
        asked = [(replica, stack.enter_context(_client_of(replica))) for replica in replicas]

        def busy_one() -> psutil.Process | None:
            if stage.prober.idle:
                stage.prober.burst(BURST, SLOW)  # a fast machine is never busy with what comes one by one
            return next((replica for replica, client in asked if _in_flight(client) >= 2), None)

        busy = wait_for("a busy replica", busy_one, every=0.0)
        killed, gone = kill(busy)
    stage.wait_for_replicas(len(replicas), other_than=[busy.pid])
    return Outage(killed, gone, time.monotonic())


def kill(process: psutil.Process) -> tuple[float, float]:
    """When the signal was sent, and when the process was gone, and its sockets with it."""
    killed = time.monotonic()
    process.kill()
    process.wait(BACK_WITHIN_S)
    return killed, time.monotonic()


def _client_of(replica: psutil.Process) -> httpx.Client:
    words = replica.cmdline()
    transport = httpx.HTTPTransport(uds=words[words.index("--socket") + 1])
    return httpx.Client(transport=transport, timeout=60.0)  # it is kept busy on purpose


def _in_flight(client: httpx.Client) -> float:
    page = client.get("http://replica/metrics").text
    return float(page.split("\ninlet_replica_in_flight ")[1].split("\n")[0])


# Endpoints


def update(stage: Stage) -> None:
    """A new revision in place of the old one."""
    before = [p.pid for p in stage.inlet.replicas()]
    assert stage.put({"model": {"env": {"A": "1"}}}) == "updating"
    stage.wait_for_replicas(len(before), other_than=before)


def update_in_vain(stage: Stage) -> None:
    """A revision that cannot start, and then one that can."""
    broken = stage.inlet.home.parent / "models" / "broken"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "config.json").write_text('{"model_type": "perceiver", "architectures": ["PerceiverModel"]}')
    stage.put({"model": {"repository": str(broken)}})
    failed = stage.inlet.wait_for_state(stage.name, "updateFailed")
    assert "perceiver" in failed["status"]["errorMessage"]
    stage.prober.wait_for(50)
    stage.put({"model": {"repository": str(stage.model)}})
    stage.wait_for_replicas(1)


def scale_up_and_down(stage: Stage) -> None:
    """1 → 3 → 1."""
    for n in (3, 1):
        assert stage.put({"compute": {"scaling": {"minReplica": n, "maxReplica": n}}}) == "running"
        stage.wait_for_replicas(n)
        stage.prober.wait_for(50)


def put_to_sleep(stage: Stage) -> None:
    """Before any request: nothing runs any more, so that the first one wakes it."""
    stage.put({"compute": {"scaling": {"minReplica": 0, "maxReplica": 1}}})
    assert stage.inlet.api.post(f"{stage.path}/scale-to-zero").status_code == 200
    wait_for("sleep", lambda: not stage.inlet.replicas())


def wake(stage: Stage) -> None:
    """Nothing but the requests themselves wakes it."""
    stage.wait_for_replicas(1)


def pause_a_neighbour(stage: Stage) -> None:
    """Another endpoint is made, paused, resumed and deleted."""
    path = "/v2/endpoint/default/neighbour"
    stage.inlet.create("neighbour", str(stage.model), model__task="feature-extraction")
    stage.inlet.wait_for_state("neighbour", "running")
    assert stage.inlet.api.post(f"{path}/pause").status_code == 200
    wait_for("end of its replica", lambda: len(stage.inlet.replicas()) == 1)
    assert stage.inlet.api.post(f"{path}/resume").status_code == 200
    stage.inlet.wait_for_state("neighbour", "running")
    stage.inlet.delete("neighbour")
    stage.wait_for_replicas(1)


# Control, router, parent


def terminate_control(stage: Stage) -> None:
    """SIGTERM: an orderly end, which leaves replicas running."""
    replicas = {p.pid for p in stage.inlet.replicas()}
    control = stage.inlet.child("inlet.control")
    control.terminate()
    control.wait(BACK_WITHIN_S)
    _until_control_is_back(stage, replicas)


def kill_control(stage: Stage) -> Outage:
    """SIGKILL."""
    replicas = {p.pid for p in stage.inlet.replicas()}
    killed, gone = kill(stage.inlet.child("inlet.control"))
    return Outage(killed, gone, _until_control_is_back(stage, replicas))


def _until_control_is_back(stage: Stage, replicas: set[int]) -> float:
    wait_for("the API", stage.inlet.is_ready, within=BACK_WITHIN_S)
    back = time.monotonic()
    stage.wait_for_replicas(len(replicas))
    after = {p.pid for p in stage.inlet.replicas()}
    assert after == replicas, "replicas are adopted, not replaced"
    return back


def kill_router(stage: Stage) -> Outage:
    """SIGKILL; its successor inherits the listening socket."""
    replicas = {p.pid for p in stage.inlet.replicas()}
    killed, gone = kill(stage.inlet.child("inlet.router"))

    def first_answer() -> float | None:
        answers = (p.ended for p in stage.prober.probes if p.result == 200 and p.sent > gone)
        return min(answers, default=None)

    back = wait_for("an answer of the next router", first_answer, within=BACK_WITHIN_S)
    assert {p.pid for p in stage.inlet.replicas()} == replicas
    return Outage(killed, gone, back)


def kill_parent(stage: Stage) -> Outage:
    """SIGKILL of `inlet up`: router and control go with it, replicas stay, and the next one adopts them."""
    inlet, api = stage.inlet, stage.inlet.api
    replicas = {p.pid for p in inlet.replicas()}
    asleep = inlet.create("asleep", str(stage.model), model__task="feature-extraction",
                          compute__scaling__minReplica=0)  # fmt: skip
    inlet.wait_for_state("asleep", "running")
    assert api.post("/v2/endpoint/default/asleep/scale-to-zero").status_code == 200
    children = [inlet.child("inlet.router"), inlet.child("inlet.control")]
    killed = time.monotonic()
    inlet.kill_parent()
    inlet.start(within=BACK_WITHIN_S)
    stage.prober.wait_for(1)
    back = time.monotonic()
    wait_for("the end of what was its parent's", lambda: all(map(has_ended, children)))
    inlet.wait_for_state(stage.name, "running")
    found = inlet.endpoint("asleep")["status"]
    assert (found["state"], found["createdAt"]) == ("scaledToZero", asleep["status"]["createdAt"])
    wait_for("the end of the replica that is to sleep", lambda: len(inlet.replicas()) == len(replicas))
    assert {p.pid for p in inlet.replicas()} == replicas, "the running one was adopted, not replaced"
    # Asleep means asleep, and it still wakes.
    answer = inlet.api.post("/default/asleep", json={"inputs": "Still there?"})
    assert answer.status_code == 200, answer.text
    inlet.delete("asleep")
    return Outage(killed, back, back)
