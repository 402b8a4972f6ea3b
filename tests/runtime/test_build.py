"""Reading model folders: weights, names, pooling. What the reference cases do not reach."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Invalid, Refused
from inlet.runtime.build.encoder import Head
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.dialect import Dialect, Request, default_dialect, dialect_of
from inlet.runtime.engines.base import FP32
from inlet.runtime.model import Model, open_model
from inlet.runtime.pooling import Pooling, normalised, read_pooling
from inlet.runtime.tasks import task_kind
from inlet.runtime.texts import Limit, Text, Texts
from tests.reference import Reference
from tests.runtime.close import assert_close


def write(path: Path, tensors: dict[str, Any], *, misalign: bool = False) -> None:
    """A safetensors file with these float32 tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + misalign)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensors(folder: Path) -> dict[str, Any]:
    weights = Weights.open(folder)
    header = json.loads((folder / "model.safetensors").read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    return {name: weights.take(name, tuple(header[name]["shape"])) for name in weights}


@pytest.fixture
def folder(made: Reference, tmp_path: Path) -> Path:
    """A copy of the topic classifier."""
    return Path(shutil.copytree(made.model("topics"), tmp_path / "model"))


def logits(model: Model, text: str = "the team won") -> Any:
    (encoded,) = model.texts.encode([Text(text, "inputs")], Limit(64, clip=True))
    mask = np.ones((1, len(encoded)), dtype=np.int64)
    return (
        model.graph()
        .compile(FP32, threads=1)
        .lanes()[0]
        .infer(encoded.ids[None], encoded.token_types[None], mask)[0]
        .copy()
    )


def classifier(folder: Path) -> Model:
    """Read, and its graph made once."""
    model = open_model(folder, task="text-classification", head=Head.SEQUENCE)
    model.graph()
    return model


def test_old_names_and_unaligned_files_give_the_same_answer(made: Reference, folder: Path) -> None:
    expected = logits(classifier(made.model("topics")))
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors(folder).items()
    }
    assert any("gamma" in name for name in renamed)
    write(
        folder / "model.safetensors",
        {**renamed, "bert.embeddings.position_ids": np.arange(72.0)[None]},
        misalign=True,
    )
    assert_close(logits(classifier(folder)).tolist(), expected.tolist(), within=1e-6)


@pytest.mark.parametrize(
    "extra", ["bert.encoder.layer.0.crossattention.self.key.weight", "adapter.weight", "qa_outputs.bias"]
)
def test_a_tensor_that_is_not_understood_is_refused(folder: Path, extra: str) -> None:
    write(folder / "model.safetensors", {**tensors(folder), extra: np.ones(3)})
    with pytest.raises(Refused, match=f"the weights have tensors that this architecture does not: {extra}"):
        classifier(folder)


def test_the_encoder_of_a_model_with_a_head_can_be_asked_for(folder: Path) -> None:
    write(folder / "model.safetensors", {**tensors(folder), "cls.predictions.bias": np.ones(3)})
    model = open_model(folder, task="feature-extraction", head=Head.HIDDEN)
    assert logits(model).shape == (5, 48)


def test_a_damaged_header_is_refused(folder: Path) -> None:
    for text in (b'{"a": 1}', b"[]", b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}', b"{"):
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(100))
        with pytest.raises(Refused, match="damaged safetensors header"):
            Weights.open(folder)
    header = b'{"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(Refused, match="tensor a has type I64; supported: F32, F16, BF16"):
        Weights.open(folder).take("a", (1,))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(Refused, match="cannot be read"):
        Weights.open(folder)


def test_an_index_may_not_leave_its_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for shard in ("../x.safetensors", "model.bin"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
        with pytest.raises(Refused, match="names a file that is not"):
            Weights.open(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(Refused, match="is damaged"):
        Weights.open(folder)


def sentence_transformer(
    folder: Path, pooling: dict[str, Any], *, steps: str = "Transformer Pooling", **more: Any
) -> Path:
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": paths.get(kind, f"{i}_{kind}"),
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(steps.split())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, value in more.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "word_embedding_dimension": 384}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls+mean"),
        (
            {"pooling_mode_weightedmean_tokens": True, "pooling_mode_lasttoken": True},
            "weightedmean+lasttoken",
        ),
    ],
)
def test_pooling_is_read(tmp_path: Path, settings: dict[str, Any], mode: str) -> None:
    pooling = read_pooling(sentence_transformer(tmp_path, settings, steps="Transformer Pooling Normalize"))
    assert (pooling.mode, pooling.normalize, pooling.declared) == (mode, True, True)
    assert read_pooling(tmp_path / "none") == Pooling(declared=False, mode="mean", normalize=False)


@pytest.mark.parametrize(
    ("settings", "steps", "problem"),
    [
        ({"pooling_mode_attention": True}, "Transformer Pooling", "asks for attention"),
        ({}, "Transformer Pooling", "asks for no mode"),
        ({"pooling_mode_mean_tokens": True}, "Transformer Pooling Normalize Dense",
         "modules.json lists Transformer, Pooling, Normalize, Dense"),
        ({"pooling_mode_mean_tokens": True}, "Pooling Transformer", "modules.json"),
    ],
)  # fmt: skip
def test_other_pooling_is_refused(tmp_path: Path, settings: dict[str, Any], steps: str, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        read_pooling(sentence_transformer(tmp_path, settings, steps=steps))


def test_pooling_is_arithmetic_over_the_tokens() -> None:
    rows = np.array([[1.0, -4.0], [3.0, 0.0]], dtype=np.float32)
    assert Pooling(mode="cls").pool(rows).tolist() == [1, -4]
    assert Pooling(mode="mean").pool(rows).tolist() == [2, -2]
    assert Pooling(mode="max").pool(rows).tolist() == [3, 0]
    assert normalised(np.array([3.0, 4.0], dtype=np.float32)).tolist() == pytest.approx([0.6, 0.8])
    assert normalised(np.zeros(2, dtype=np.float32)).tolist() == [0, 0]


def test_a_models_own_length_case_and_prompts_hold_for_pooled_texts(made: Reference, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made.model("entities"), tmp_path / "model"))
    sentence_transformer(
        folder,
        {"pooling_mode_cls_token": True},
        sentence_bert_config={"max_seq_length": 9, "do_lower_case": True},
        config_sentence_transformers={"prompts": {"Query": "find "}, "default_prompt_name": None},
    )
    kind = task_kind("sentence-embeddings")
    model = open_model(folder, task="sentence-embeddings", head=kind.head)
    task = kind.make(model)

    def ids(text: str, **parameters: Any) -> list[int]:
        (encoded,) = task.plan(Request(text, parameters, Dialect.API)).encode()
        return encoded.ids.tolist()

    assert ids("Paris") == ids("paris")
    assert len(ids("Paris " * 20)) == 9
    assert ids("Paris", prompt_name="Query") == ids("find Paris")
    with pytest.raises(Invalid, match="it has: Query"):
        task.plan(Request("Paris", {"prompt_name": "query"}, Dialect.API))


def test_clipping_keeps_the_special_tokens(made: Reference) -> None:
    texts = Texts.open(made.minilm, positions=512, vocabulary=30522)

    def tokens(text: Text, limit: Limit) -> list[str]:
        return list(texts.encode([text], limit, sources=True)[0].source.tokens)

    words = "one two three four five six"
    assert tokens(Text(words, "x"), Limit(5, clip=True)) == ["[CLS]", "one", "two", "three", "[SEP]"]
    assert tokens(Text(words, "x"), Limit(5, clip=True, side="left")) == [
        "[CLS]",
        "four",
        "five",
        "six",
        "[SEP]",
    ]
    pair = Text(words, "x", "seven")
    assert tokens(pair, Limit(6, clip=True)) == ["[CLS]", "one", "two", "[SEP]", "seven", "[SEP]"]
    with pytest.raises(Invalid, match="x: 8 tokens, more than the 7"):
        tokens(Text(words, "x"), Limit(7, clip=False))


@pytest.mark.parametrize(
    ("agent", "dialect"),
    [
        ("unknown/None; hf_hub/0.36.0; python/3.11", Dialect.API),
        ("@huggingface/inference/4.13.30", Dialect.API),
        ("curl/8.5", Dialect.TOOLKIT),
        ("node", Dialect.TOOLKIT),
        ("hf_hub", Dialect.TOOLKIT),
        ("", Dialect.TOOLKIT),
    ],
)
def test_the_dialect_follows_the_client_and_the_setting(agent: str, dialect: Dialect) -> None:
    assert dialect_of(agent, default_dialect({})) is dialect
    assert dialect_of(agent, default_dialect({"API_INFERENCE_COMPAT": "True"})) is Dialect.API
    assert dialect_of(agent, default_dialect({"API_INFERENCE_COMPAT": "0"})) is dialect
