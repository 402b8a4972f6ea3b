"""LitServe around the classifier, one worker, no batching: padded batches lose on processors."""

from __future__ import annotations

from typing import Any

import litserve

from benchmarks.servers.classifier import classifier, port


class Classifier(litserve.LitAPI):
    """One worker's."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the name is LitServe's
        self._classify = classifier()

    # LitServe makes the request's schema of the annotation; without one it takes any JSON.
    def decode_request(self, request, **_: Any) -> str:  # noqa: ANN001
        return str(request["inputs"])

    def predict(self, text: str, **_: Any) -> dict[str, Any]:
        return self._classify(text)

    def encode_response(self, output: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
        return [output]


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(api_path="/predict"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port(), generate_client_file=False)
