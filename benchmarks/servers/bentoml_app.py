"""BentoML around the classifier, one worker; started by `bentoml serve`."""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.servers.classifier import classifier


@bentoml.service(workers=1)
class Classifier:
    """One worker's."""

    def __init__(self) -> None:
        self._classify = classifier()

    @bentoml.api
    def classify(self, inputs: str) -> list[dict[str, Any]]:
        return [self._classify(inputs)]
