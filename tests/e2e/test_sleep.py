"""What wakes a sleeping endpoint, and what does not. (That the waking request itself is held: `bars.py`.)"""

from __future__ import annotations

from pathlib import Path

from .installation import Installation, wait_for

PATH = "/v2/endpoint/default/mini"
BODY = {"inputs": "How do I get my money back?"}


def test_demand_wakes_it_even_when_the_caller_will_not_wait_and_looking_does_not(
    one_installation: Installation, sample_model: Path
) -> None:
    inlet = one_installation
    inlet.create("mini", str(sample_model), model__task="feature-extraction", compute__scaling__minReplica=0)
    inlet.wait_for_state("mini", "running")
    assert inlet.api.post(f"{PATH}/scale-to-zero").status_code == 200
    wait_for("sleep", lambda: not inlet.replicas())
    assert inlet.api.get("/default/mini/health").status_code == 503
    assert inlet.endpoint("mini")["status"]["state"] == "scaledToZero"
    refused = inlet.api.post("/default/mini", json=BODY, headers={"X-Scale-Up-Timeout": "0"})
    assert refused.status_code == 503
    assert refused.json()["state"] in ("scaledToZero", "pending", "initializing")
    assert "retry-after" in refused.headers
    inlet.wait_for_state("mini", "running")
    inlet.delete("mini")
