"""Ray Serve around the classifier, one replica; the handler as in its documentation, in the replica's event loop."""

from __future__ import annotations

import os
import signal
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.servers.classifier import classifier, port


@serve.deployment(num_replicas=1)
class Classifier:
    """One replica's."""

    def __init__(self) -> None:
        self._classify = classifier()

    async def __call__(self, request: Request) -> list[dict[str, Any]]:
        body = await request.json()
        return [self._classify(body["inputs"])]


def main() -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else it leaves a token in the user's home
    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port()})
    serve.run(Classifier.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
