"""Changes under load that no caller may notice: every probed request succeeds."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .installation import TOKEN, Installation, installation, wait_for
from .prober import Prober
from .test_kills import BODY, report, serve


def ready(inlet: Installation, n: int) -> Callable[[], bool]:
    def check() -> bool:
        found = inlet.endpoint("probed")
        return found["status"]["state"] == "running" and found["status"]["readyReplica"] == n == len(
            inlet.replicas()
        )

    return check


def change(inlet: Installation, body: dict[str, object]) -> dict[str, object]:
    answer = inlet.api.put("/v2/endpoint/default/probed", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["status"])


def test_updates_scaling_and_an_orderly_stop_lose_nothing(
    home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model)
        with Prober(url, TOKEN, BODY, rate=40) as prober:
            prober.wait_for(40)
            before = {p.pid for p in inlet.replicas()}
            assert change(inlet, {"model": {"env": {"A": "1"}}})["state"] == "updating"
            wait_for(
                "the new revision",
                lambda: ready(inlet, 1)() and not before & {p.pid for p in inlet.replicas()},
            )
            for n in (3, 1):
                scaling = {"minReplica": n, "maxReplica": n}
                assert change(inlet, {"compute": {"scaling": scaling}})["state"] == "running"
                wait_for(f"{n} replicas", ready(inlet, n))
                prober.wait_for(40)
            inlet.replicas()[0].send_signal(signal.SIGTERM)
            prober.wait_for(80)
            wait_for("a replica in its place", ready(inlet, 1))
        report(capsys, "update, 1 → 3 → 1 replicas, SIGTERM", prober)
        assert prober.failed == []


def test_a_sleeping_endpoint_holds_its_requests_and_wakes(
    home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation(home) as inlet:
        url = serve(inlet, sample_model)
        scaling = {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}
        change(inlet, {"compute": {"scaling": scaling}})
        assert inlet.api.post("/v2/endpoint/default/probed/scale-to-zero").status_code == 200
        wait_for("sleep", lambda: not inlet.replicas())
        # Looking does not wake it.
        assert inlet.api.get("/default/probed/health").status_code == 503
        refused = inlet.api.post("/default/probed", json=BODY, headers={"X-Scale-Up-Timeout": "0"})
        assert refused.status_code == 503
        assert refused.json()["state"] in ("scaledToZero", "pending", "initializing")
        assert "retry-after" in refused.headers
        # It would not wait, but it is demand all the same.
        inlet.wait_for_state("probed", "running")
        assert inlet.api.post("/v2/endpoint/default/probed/scale-to-zero").status_code == 200
        wait_for("sleep", lambda: not inlet.replicas())
        with Prober(url, TOKEN, BODY, rate=40) as prober:
            prober.wait_for(80)
        report(capsys, "woken by requests", prober)
        assert prober.failed == []
        assert inlet.endpoint("probed")["status"]["state"] == "running"


def test_a_bad_update_leaves_the_old_revision_serving(home: Path, sample_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "perceiver", "architectures": ["PerceiverModel"]}')
    with installation(home, env={"INLET_MODELS": str(tmp_path)}) as inlet:
        url = serve(inlet, sample_model)
        with Prober(url, TOKEN, BODY, rate=20) as prober:
            prober.wait_for(20)
            change(inlet, {"model": {"repository": str(broken)}})
            found = inlet.wait_for_state("probed", "updateFailed")
            assert "perceiver" in found["status"]["errorMessage"]
            prober.wait_for(20)
            change(inlet, {"model": {"repository": str(sample_model)}})
            inlet.wait_for_state("probed", "running")
            prober.wait_for(20)
        assert prober.failed == []
