"""`inlet up` with its state on a PostgreSQL server, as a user meets it: restarts, and a server that goes away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.postgresql import PASSWORD, Server

from .installation import INLET, TOKEN, Installation, installation, wait_for
from .prober import Prober

BODY = {"inputs": "How do I get my money back?"}
ANSWERED_WITHIN_S = 45.0  # the store gives up after 6 seconds; the rest is for a busy machine


def names(inlet: Installation) -> list[str]:
    return [endpoint["name"] for endpoint in inlet.api.get("/v2/endpoint/default").json()["items"]]


def is_refused(inlet: Installation) -> bool:
    """The API says within seconds, and in its own form, that the database is away."""
    began = time.monotonic()
    answer = inlet.api.get("/v2/endpoint/default")
    assert time.monotonic() - began < ANSWERED_WITHIN_S
    if answer.status_code == 200:
        return False
    assert answer.status_code == 503
    assert re.search("database|control", answer.json()["error"])
    return "database" in answer.json()["error"]


def works(inlet: Installation) -> bool:
    return inlet.api.get("/v2/endpoint/default").status_code == 200


def test_everything_is_there_again_and_traffic_goes_on_without_the_database(
    home: Path, sample_model: Path, postgresql: Server
) -> None:
    url = postgresql.database().render_as_string(hide_password=False)
    with installation(home, {"INLET_DATABASE_URL": url}) as inlet:
        inlet.create(
            "probed", str(sample_model), model__task="feature-extraction", model__secrets={"KEY": "hush"}
        )
        made = inlet.wait_for_state("probed", "running")
        token = inlet.api.post(
            "/api/inlet/tokens", json={"name": "app", "permissions": [{"permission": "infer"}]}
        )
        assert token.status_code == 200, token.text
        assert not (home / "inlet.db").exists()

        assert inlet.stop() == 0
        inlet.wait_for_end()
        postgresql.stop()
        postgresql.start()
        inlet.start()
        again = inlet.wait_for_state("probed", "running")
        assert again["status"]["createdAt"] == made["status"]["createdAt"]

        path = f"{inlet.url}/default/probed"
        with Prober(path, token.json()["token"], BODY, rate=20) as prober:
            prober.wait_for(20)
            postgresql.stop(signal.SIGQUIT)
            wait_for("typed refusal", lambda: is_refused(inlet))
            inlet.child("inlet.control").kill()  # its successor cannot start before the database is back
            prober.wait_for(100)
            postgresql.start()
            wait_for("the API", lambda: works(inlet), within=120)

            with postgresql.frozen():
                wait_for("typed refusal", lambda: is_refused(inlet))
                prober.wait_for(20)
            wait_for("the API", lambda: works(inlet), within=120)
            inlet.create("second", str(sample_model), model__task="feature-extraction")
            inlet.wait_for_state("second", "running")
        assert prober.failed == []
        assert sorted(names(inlet)) == ["probed", "second"]
        for log in (home / "logs").glob("*.log"):
            assert PASSWORD[:7] not in log.read_text(errors="replace"), log
        assert [p.pid for p in inlet.replicas() if "INLET_DATABASE_URL" in p.environ()] == []

        env = {**os.environ, "INLET_HOME": str(home.with_name("other")), "INLET_DATABASE_URL": url}
        other = subprocess.run(
            [INLET, "up", "--port", "0"], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert other.returncode == 1
        assert "take the one of the others who use that database (INLET_SECRET_KEY" in " ".join(
            other.stderr.split()
        )
        assert TOKEN not in other.stderr
