"""MLServer around the classifier, as a custom runtime: its own for transformers needs TensorFlow as well.

As documented it runs the model in a pool of one worker process; tuned in the server's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.servers.classifier import classifier, is_documented, port

NAME = "bench"


class Classifier(MLModel):
    """Found by its name in the model's settings."""

    async def load(self) -> bool:
        self._classify = classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        text = StringCodec.decode_input(payload.inputs[0])[0]
        answer = json.dumps(await asyncio.to_thread(self._classify, text))
        return InferenceResponse(model_name=NAME, outputs=[StringCodec.encode_output("answer", [answer])])


def main() -> None:
    settings = {
        "host": "127.0.0.1",
        "http_port": port(),
        "grpc_port": port() + 1,
        "metrics_port": port() + 2,
        "parallel_workers": 1 if is_documented() else 0,
    }
    Path("settings.json").write_text(json.dumps(settings))
    model = {"name": NAME, "implementation": "benchmarks.servers.mlserver_app.Classifier"}
    Path("model-settings.json").write_text(json.dumps(model))
    os.execv(sys.executable, [sys.executable, "-c", "from mlserver.cli import main; main()", "start", "."])


if __name__ == "__main__":
    main()
