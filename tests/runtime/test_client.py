"""The real InferenceClient against a real replica on a port: it must understand every answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.reference import Reference
from tests.runtime.process import eventually
from tests.system import reserved_port


@contextmanager
def client(made: Reference, model: str, task: str) -> Iterator[InferenceClient]:
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "inlet.runtime", "--model", str(made.model(model)), "--task", task,
                   "--port", str(port)]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

        def ready() -> bool:
            try:
                return httpx.get(f"{url}/health").status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(ready)
            yield InferenceClient(model=url, token="hf_x")
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


def test_text_classification(made: Reference) -> None:
    with client(made, "topics", "text-classification") as real:
        labels = real.text_classification("the team won the match")
        assert labels[0].label == "sport"
        assert len(labels) == 3
        assert len(real.text_classification("the team won", top_k=1)) == 1
        with pytest.raises(HfHubHTTPError, match="202 tokens, more than the 72"):
            real.text_classification("snow " * 200)


def test_token_classification(made: Reference) -> None:
    with client(made, "entities", "token-classification") as real:
        found = real.token_classification("Anna Petrova lives in New York .")
        assert {(item.entity_group, item.word) for item in found} == {
            ("PER", "Anna Petrova"),
            ("LOC", "New York"),
        }


def test_feature_extraction(made: Reference) -> None:
    with client(made, "minilm", "feature-extraction") as real:
        vectors = real.feature_extraction(["a happy dog", "a joyful puppy"], normalize=True, truncate=True)
        assert vectors.shape == (2, 384)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
        assert real.feature_extraction("a happy dog").shape == (1, 384)


def test_sentence_similarity(made: Reference) -> None:
    with client(made, "minilm", "sentence-similarity") as real:
        near, far = real.sentence_similarity("a happy dog", other_sentences=["a joyful puppy", "tax law"])
        assert near > 0.6 > far
