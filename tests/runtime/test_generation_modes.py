"""Other uses of a .gguf file, and files in parts or from the Hub: real replicas, with llama.cpp behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.runtime.process import Replica
from tests.runtime.tiny_gguf import make_gguf
from tests.standins.hub import StandinHub

pytest.importorskip("xllamacpp")

EMBEDS = {"LLAMA_ARG_EMBEDDINGS": "1", "LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_N_PARALLEL": "2"}
RANKS = {"LLAMA_ARG_RERANKING": "1", "LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_N_PARALLEL": "2"}
SHORT = {"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_N_PARALLEL": "1"}
ASKED = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}


@contextmanager
def serving(
    folder: Path, model: Path | str, *flags: str, memory: int = 1_000_000_000, **env: str
) -> Iterator[Replica]:
    folder.mkdir(exist_ok=True)
    limits = ("--vcpus", "1", "--memory", str(memory))
    with Replica(folder, model, "text-generation", *limits, *flags, env=env) as replica:
        yield replica


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_embeddings(tmp_path: Path, pooling: str) -> None:
    make_gguf(tmp_path / "tiny.gguf")
    with serving(tmp_path, tmp_path, LLAMA_ARG_POOLING=pooling, **EMBEDS) as replica:
        replica.ready()
        sdk = openai.OpenAI(
            base_url="http://replica/v1", api_key="x", http_client=replica.http, max_retries=0
        )
        both = sdk.embeddings.create(model="x", input=["hello", "something else"])
        [alone] = sdk.embeddings.create(model="x", input="hello", encoding_format="float").data
        first, second = (each.embedding for each in both.data)
        assert first == pytest.approx(alone.embedding, abs=1e-3)
        assert first != pytest.approx(second, abs=1e-2)
        assert math.hypot(*first) == pytest.approx(1, abs=1e-3)
        with pytest.raises(openai.BadRequestError, match="shorten it"):
            sdk.embeddings.create(model="x", input="a " * 600)
        refusal = replica.post({"inputs": "hello"})
        assert (refusal.status_code, "/v1/embeddings" in refusal.text) == (400, True)


def test_ranks(tmp_path: Path) -> None:
    make_gguf(tmp_path / "tiny.gguf", ranks=True)
    texts = ["it is", "nothing", "warm"]
    with serving(tmp_path, tmp_path, **RANKS) as replica:
        replica.ready()
        found = replica.post({"query": "is it warm?", "documents": texts}, "/v1/rerank").json()["results"]
        scores = [each["relevance_score"] for each in found]
        assert sorted(each["index"] for each in found) == [0, 1, 2]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == 3
        same = replica.post({"query": "is it warm?", "texts": texts}, "/rerank").json()
        assert [each["index"] for each in same] == [each["index"] for each in found]
        assert replica.post({"query": "a"}, "/v1/rerank").status_code == 400
        assert replica.post({"query": "a", "documents": ["a " * 600]}, "/v1/rerank").status_code == 400


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        (EMBEDS, "LLAMA_ARG_POOLING: the file does not say how to make one embedding of a text"),
        (RANKS, "model: the model has no head that ranks"),
    ],
)
def test_a_mode_that_the_model_is_not_made_for(tmp_path: Path, env: dict[str, str], reason: str) -> None:
    make_gguf(tmp_path / "tiny.gguf")
    with serving(tmp_path, tmp_path, **env) as replica:
        assert replica.ended() == 78
    assert replica.termination_log.read_text().startswith(reason)


def test_of_several_files_only_what_is_served_is_fetched(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "acme" / "tiny"
    (repository / "Q8").mkdir(parents=True)
    make_gguf(repository / "tiny-Q2.gguf", context=512, seed=1)
    make_gguf(repository / "Q8" / "tiny.gguf", context=1024, split=9)  # a few bytes more
    parts = sorted(path.relative_to(repository).as_posix() for path in (repository / "Q8").iterdir())
    assert len(parts) == 3
    (repository / "README.md").write_text("never fetched")
    (repository / "mmproj-tiny.gguf").write_text("never fetched")
    with (repository / "tiny-F32.gguf").open("wb") as file:
        file.truncate(600_000_000)  # too large
    (tmp_path / "whole").mkdir()
    make_gguf(tmp_path / "whole" / "tiny.gguf", context=1024)
    with serving(tmp_path / "a", tmp_path / "whole", **SHORT) as replica:
        expected = replica.ready().ask(ASKED)

    with StandinHub(tmp_path / "hub") as hub:
        flags = ("--commit", hub.commit("acme/tiny"), "--cache", str(tmp_path / "cache"))

        def answers(name: str, **env: str) -> tuple[Any, list[str]]:
            """What such a replica says, and what it fetched for it."""
            before = len(hub.requests)
            more = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / name), **SHORT, **env}
            with serving(tmp_path / name, "acme/tiny", *flags, memory=700_000_000, **more) as replica:
                said = replica.ready().ask(ASKED)
            asked = {
                each.path
                for each in hub.requests[before:]
                if each.method == "GET" and "/resolve/" in each.path
            }
            return said, sorted(path.partition(f"/{hub.commit('acme/tiny')}/")[2] for path in asked)

        assert answers("b") == (expected, parts)
        assert answers("c") == (expected, [])  # they are here already
        said, fetched = answers("d", LLAMA_ARG_MODEL="tiny-Q2.gguf")
        assert (fetched, said == expected) == (["tiny-Q2.gguf"], False)
