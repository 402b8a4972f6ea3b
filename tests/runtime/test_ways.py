"""The way in which a model is served: the same for a repository's list of files and for what was fetched of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlet.core.errors import Refused
from inlet.runtime.generation.settings import Settings
from inlet.runtime.origins.choose import Extras
from inlet.runtime.ways import Choice, Way, Wish, choose_way

CONFIG = "config.json"
NAMES = (
    CONFIG, "handler.py", "pipeline.py", "modeling.py", "requirements.txt", "README.md", "tokenizer.json", "tokenizer_config.json",
    "model.skops", "model.joblib", "model.pkl", "other.pkl", "model.safetensors", "model-00001-of-00001.safetensors",
    "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "1_Dense/model.safetensors", "1_Pooling/config.json",
    "openvino/openvino_model.xml", "openvino/openvino_model.bin", "openvino_model.xml", "openvino_model.bin",
    "openvino/openvino_model_qint8_quantized.xml", "openvino/openvino_model_qint8_quantized.bin", "onnx/model.onnx", "onnx/model.onnx_data",
    "onnx/model_quantized.onnx", "model.onnx", "a.gguf", "b/c.gguf", "d-00001-of-00002.gguf", "d-00002-of-00002.gguf", "mmproj-a.gguf",
    "generation_config.json", "original/consolidated.pth", "model_index.json", "unet/config.json", "weird\nname.bin",
)  # fmt: skip
BERT = {
    "model_type": "bert", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 9,
    "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu",
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8,
    "vocab_size": 9, "max_position_embeddings": 16,
}  # fmt: skip
CONFIGS: tuple[dict[str, Any], ...] = (
    {}, BERT, LLAMA, {"model_type": "strange"}, {"architectures": ["X"]}, {"sklearn": {"model": {"file": "other.pkl"}}},
)  # fmt: skip
TASKS = (
    "", "text-classification", "fill-mask", "question-answering", "feature-extraction", "tabular-classification", "text-generation",
    "image-classification", "text-to-image", "no-such-task",
)  # fmt: skip
WITH_ALL = Wish(
    task="text-classification",
    handler=True,
    code=False,
    llama=Settings(),
    memory=10**9,
    extras=Extras(torch=True, onnxruntime=True),
    llamacpp=True,
)

wishes = st.builds(
    Wish,
    task=st.sampled_from(TASKS),
    handler=st.booleans(),
    code=st.booleans(),
    llama=st.builds(Settings, file=st.sampled_from((None, None, "a.gguf"))),
    memory=st.sampled_from((50, 200, 10**9)),
    extras=st.builds(Extras, torch=st.booleans(), onnxruntime=st.booleans()),
    llamacpp=st.booleans(),
)
files = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100), max_size=12)
likely = st.sampled_from(((), (CONFIG, "model.safetensors"), (CONFIG, "pytorch_model.bin"), ("a.gguf",)))
repositories = st.builds(lambda names, more: {**dict.fromkeys(names, 7), **more}, likely, files)


def chosen(sizes: Mapping[str, int], config: Mapping[str, Any], wish: Wish) -> Choice:
    """As for a folder or a repository, whose configuration is only known if it is there."""
    return choose_way(sizes, config if CONFIG in sizes else {}, wish)


@settings(max_examples=1000)
@given(repositories, st.sampled_from(CONFIGS), wishes, st.sets(st.sampled_from(NAMES)))
def test_what_was_fetched_is_served_as_the_repository_would_be(
    sizes: dict[str, int], config: dict[str, Any], wish: Wish, before: AbstractSet[str]
) -> None:
    """Also when another endpoint had fetched other files of the same commit before."""
    try:
        found = chosen(sizes, config, wish)
    except Refused:
        return
    here = {name: size for name, size in sizes.items() if name in {*found.files, *before, CONFIG}}
    again = chosen(here, config, wish)
    assert (again.way, set(again.files)) == (found.way, {*found.files}.intersection(here))
    assert {*found.files} <= {*sizes}


@pytest.mark.parametrize(
    ("names", "config", "changes", "way"),
    [
        ((CONFIG, "handler.py", "model.safetensors"), BERT, {}, Way.HANDLER),
        ((CONFIG, "handler.py", "model.safetensors"), BERT, {"handler": False}, Way.ENCODER),
        ((CONFIG, "model.skops"), {}, {"task": "tabular-classification"}, Way.SKLEARN),
        ((CONFIG, "model.safetensors", "a.gguf"), LLAMA, {"task": "text-generation"}, Way.GGUF),
        ((CONFIG, "model.safetensors"), LLAMA, {"task": "text-generation"}, Way.CONVERTED),
        ((CONFIG, "model.safetensors"), LLAMA, {"task": "text-generation", "llamacpp": False}, Way.PIPELINE),
        ((CONFIG, "onnx/model.onnx"), {"model_type": "strange"}, {}, Way.ENCODER),
        ((CONFIG, "onnx/model.onnx"), {"model_type": "strange"}, {"task": "fill-mask"}, Way.PIPELINE),
        ((CONFIG, "model.safetensors"), {}, {"task": "image-classification"}, Way.PIPELINE),
    ],
)
def test_the_first_way_that_fits(
    names: Collection[str], config: Mapping[str, Any], changes: Mapping[str, Any], way: Way
) -> None:
    assert chosen(dict.fromkeys(names, 1), config, replace(WITH_ALL, **changes)).way is way


@pytest.mark.parametrize("task", ["image-classification", "fill-mask"])
def test_what_only_torch_computes_is_refused_before_anything_is_fetched(task: str) -> None:
    sizes = dict.fromkeys((CONFIG, "onnx/model.onnx"), 1)
    without = replace(WITH_ALL, task=task, extras=Extras(torch=False, onnxruntime=True))
    with pytest.raises(Refused, match=r"torch.*install inlet-endpoints\[torch\]"):
        chosen(sizes, {"model_type": "strange"}, without)


def test_a_model_with_code_of_its_own_is_torchs_only_where_that_may_run() -> None:
    sizes = dict.fromkeys((CONFIG, "modeling.py", "model.safetensors"), 7)
    config = {"model_type": "strange", "auto_map": {"AutoModel": "modeling.X"}}
    allowed = replace(WITH_ALL, code=True)
    assert choose_way(sizes, config, allowed).way is Way.PIPELINE
    assert "modeling.py" in choose_way(sizes, config, allowed).files
    assert choose_way(sizes, config, WITH_ALL).way is Way.ENCODER
    # Ready-made graphs need none of it.
    assert choose_way({**sizes, "onnx/model.onnx": 7}, config, allowed).way is Way.ENCODER
