"""From safetensors to GGUF: that llama.cpp continues texts as transformers does, and that what is not certain is refused.

The models are small, of random weights, one of each family (`reference/decoders`); transformers computed in float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from xllamacpp import CommonParams, Server, ggml_type

from inlet.core.errors import Refused, Unavailable
from inlet.runtime.gguf.__main__ import convert
from inlet.runtime.gguf.check import check
from inlet.runtime.gguf.conversion import converted
from inlet.runtime.gguf.storage import Storage
from tests.reference import checkpoint
from tests.reference.decoders import Continuation, Decoders, decoders
from tests.runtime.process import Replica

# Of log probabilities. llama.cpp keeps what it computes attention and bfloat16 with in fewer bits than transformers does here.
NEAR, NEAR_BF16, NEAR_Q8_0 = 0.02, 0.05, 0.3
FAMILIES = (
    "llama", "llama-tied", "llama-biased", "mistral", "mistral-wide", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "gpt2",
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Decoders:
    return decoders()


@pytest.fixture
def copy(made: Decoders, tmp_path: Path) -> Callable[[str], Path]:
    """A model that may be changed."""
    return lambda name: Path(shutil.copytree(made.folder / name, tmp_path / "model"))


@contextmanager
def llama(file: Path, folder: Path) -> Iterator[httpx.Client]:
    """llama.cpp with that file, keeping what it computed in float32."""
    params, socket = CommonParams(), folder / "llama.sock"
    params.model.path, params.hostnames = str(file), [str(socket)]
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.verbosity = 256, 1, 1, 0
    params.cache_type_k = params.cache_type_v = ggml_type.GGML_TYPE_F32
    params.warmup = params.fit_params = False
    server = Server(params)
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://llama", timeout=60
    ) as client:
        yield client
    del server


def compare(client: httpx.Client, answers: list[Continuation]) -> tuple[list[bool], float]:
    """Per step whether the likeliest token is the same, and the largest difference of the top tokens' log probabilities."""
    same, worst = [], 0.0
    for answer in answers:
        given = list(answer.ids)
        for step in answer.steps:
            asked = {"prompt": given, "n_predict": 1, "temperature": 0, "n_probs": 50}
            found = client.post("/completion", json=asked).raise_for_status().json()
            # Of a token that is a part of a character, llama.cpp says nothing.
            for token in found.get("completion_probabilities", []):
                logprobs = {top["id"]: top["logprob"] for top in token["top_logprobs"]}
                same.append(token["id"] == step[0][0])
                worst = max(worst, *(abs(logprobs.get(token, -99) - expected) for token, expected in step))
            given.append(step[0][0])
    return same, worst


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_continues_as_transformers(made: Decoders, name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    convert(made.folder / name, file, Storage.AUTO)
    with llama(file, tmp_path) as client:
        for answer in made.answers[name]:
            split = client.post("/tokenize", json={"content": answer.prompt, "add_special": True}).json()
            assert split["tokens"] == answer.ids
        same, worst = compare(client, made.answers[name])
    stored = json.loads((made.folder / name / "config.json").read_bytes())["dtype"]
    assert len(same) > 40
    assert worst < (NEAR_BF16 if stored == "bfloat16" else NEAR)
    # Where two tokens are as likely as each other, rounding decides.
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_eight_bits_are_near(made: Decoders, name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    convert(made.folder / name, file, Storage.Q8_0)
    kinds = {tensor.name: tensor.tensor_type for tensor in GGUFReader(file).tensors}
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == GGMLQuantizationType.Q8_0
    assert kinds["output_norm.weight"] == GGMLQuantizationType.F32
    with llama(file, tmp_path) as client:
        same, worst = compare(client, made.answers[name])
    assert 0.01 < worst < NEAR_Q8_0
    assert np.mean(same) > 0.7


def test_the_same_model_is_the_same_file(made: Decoders, tmp_path: Path) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    for file in (one, other):
        convert(made.folder / "qwen2", file, Storage.Q8_0)
    assert one.read_bytes() == other.read_bytes()


def test_kept_and_made_once(made: Decoders, tmp_path: Path) -> None:
    said: list[str] = []

    def ask() -> Path:
        return converted(made.folder / "llama", tmp_path / "gguf", said.append, revision="a/model@1")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: ask(), range(2))
    assert first == second == ask()
    assert said.count("converting the weights: 100 %") == 1
    assert {path.name for path in first.parent.iterdir()} == {first.name, "lock"}
    check(made.folder / "llama", first)
    for other in ({"revision": "a/model@2"}, {"revision": "a/model@1", "storage": Storage.F16}):
        assert converted(made.folder / "llama", tmp_path / "gguf", said.append, **other) != first


def test_a_refusal_comes_out_of_the_process(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("llama")
    change(folder / "config.json", model_type="mamba")
    with pytest.raises(
        Refused, match="models of type 'mamba' cannot be turned into a GGUF file; those that can: gemma,"
    ):
        converted(folder, tmp_path / "gguf", print, revision=None)
    assert [path.name for path in (tmp_path / "gguf").iterdir()] == ["lock"]


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


LONGER = {"rope_theta": 1e4, "rope_type": "yarn", "factor": 4.0}


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("llama", {"model_type": "mixtral"}, "models of type 'mixtral'"),
        ("llama", {"model_type": ["llama"]}, "models of type"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama", {"rope_parameters": LONGER}, "rotary positions as 'yarn'"),
        ("llama", {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "as 'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "factor must be a positive number, not None"),
        ("llama", {"rope_parameters": [1]}, "rope_parameters must be an object"),
        ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads must be a divisor of 4 heads"),
        ("llama", {"num_hidden_layers": True}, "num_hidden_layers must be a positive whole number"),
        ("llama", {"num_hidden_layers": 2}, "tensors that this kind of model has not, such as model.layers.2"),
        ("llama", {"num_hidden_layers": 4}, "lack 9 tensors of this kind of model, such as model.layers.3"),
        ("llama", {"intermediate_size": 128}, "has shape"),
        ("llama", {"vocab_size": 100}, "the tokenizer has a token 902"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "layer_types must be a list of full_attention"),
        ("llama", {"head_dim": 15}, "head_dim must be even"),
        ("gemma2", {"query_pre_attn_scalar": 32}, "query_pre_attn_scalar must be 16, not 32"),
        ("gemma2", {"layer_types": ["full_attention"] * 7}, "layer_types must be full_attention in every layer number 2"),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("phi3", {"rope_parameters": {**LONGER, "rope_type": "longrope"}}, "as 'longrope'"),
        ("phi3", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.75}}, "partial_rotary_factor"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ],
)  # fmt: skip
def test_uncertain_models_are_refused(
    copy: Callable[[str], Path], tmp_path: Path, name: str, changed: dict[str, Any], reason: str
) -> None:
    folder = copy(name)
    change(folder / "config.json", **changed)
    with pytest.raises(Refused, match=reason):
        convert(folder, tmp_path / "out.gguf", Storage.AUTO)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


SPACES = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
OTHER_WORDS = {"type": "Split", "pattern": {"Regex": r"\w+|\W+"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("mistral", {"normalizer": None, "pre_tokenizer": SPACES}, "puts a space before a text as 'first'"),
        ("mistral", {"normalizer": {"type": "NFKC"}}, "replaces spaces in a way"),
        ("llama", {"pre_tokenizer": OTHER_WORDS}, "splits texts in a way for which llama.cpp has no name"),
        ("llama", {"normalizer": {"type": "Lowercase"}}, r"normalises texts \(Lowercase\)"),
        ("llama", {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "post_processor": None}, "type WordLevel"),
        ("llama", {"model": None}, "tokenizer.json cannot be read"),
    ],
)  # fmt: skip
def test_uncertain_tokenizers_are_refused(
    copy: Callable[[str], Path], tmp_path: Path, name: str, changed: dict[str, Any], reason: str
) -> None:
    folder = copy(name)
    change(folder / "tokenizer.json", **changed)
    with pytest.raises(Refused, match=reason):
        convert(folder, tmp_path / "out.gguf", Storage.AUTO)


def test_tokens_that_mean_something_else_are_refused(copy: Callable[[str], Path], tmp_path: Path) -> None:
    """Two tokens that changed places: all is well formed, and every answer would be nonsense."""
    folder, file = copy("llama"), tmp_path / "out.gguf"
    convert(folder, file, Storage.AUTO)
    check(folder, file)
    described = json.loads((folder / "tokenizer.json").read_bytes())
    vocabulary = described["model"]["vocab"]
    vocabulary["H"], vocabulary["t"] = vocabulary["t"], vocabulary["H"]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(Refused, match=r"llama\.cpp would split .Hello, world!.* into other tokens"):
        check(folder, file)


@pytest.mark.parametrize(
    ("name", "added", "reason"),
    [
        ("llama", {"lstrip": True}, r"llama\.cpp would split"),
        ("llama", {"single_word": True}, r"llama\.cpp would split"),
        ("gemma", {"rstrip": True}, "for Phi-3 only"),
    ],
)
def test_tokens_that_take_spaces_are_refused(
    copy: Callable[[str], Path], tmp_path: Path, name: str, added: dict[str, Any], reason: str
) -> None:
    folder = copy(name)
    described = json.loads((folder / "tokenizer.json").read_bytes())
    described["added_tokens"][-1] |= added
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(Refused, match=reason):
        convert(folder, tmp_path / "out.gguf", Storage.AUTO)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_llama_cpp_does_not_open_is_refused(made: Decoders, tmp_path: Path) -> None:
    file = tmp_path / "out.gguf"
    convert(made.folder / "llama", file, Storage.AUTO)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(Refused, match=r"llama\.cpp cannot open the file"):
        check(made.folder / "llama", file)


def test_what_ends_an_answer_and_how_chats_are_written(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder, file = copy("qwen2"), tmp_path / "out.gguf"
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [902, 900, 901]}))
    convert(folder, file, Storage.AUTO)
    fields = GGUFReader(file).fields
    told = {
        name: fields[f"tokenizer.ggml.{name}_token_id"].contents()
        for name in ("eos", "eot", "eom", "padding")
    }
    assert told == {"eos": 902, "eot": 900, "eom": 901, "padding": 900}
    with llama(file, tmp_path) as client:
        asked = {"messages": [{"role": "user", "content": "hi"}]}
        prompt = client.post("/apply-template", json=asked).json()["prompt"]
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [902, 900, 901, 7]}))
    with pytest.raises(Refused, match="4 tokens that end an answer"):
        convert(folder, file, Storage.AUTO)


def test_a_window_bounds_the_context(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder, file = copy("mistral"), tmp_path / "out.gguf"
    convert(folder, file, Storage.AUTO)
    assert GGUFReader(file).fields["llama.context_length"].contents() == 128


def test_settings_as_they_were_called_before(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder, one, other = copy("llama-tied"), tmp_path / "one.gguf", tmp_path / "other.gguf"
    scaling = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    change(folder / "config.json", rope_parameters={**scaling, "rope_type": "llama3", "rope_theta": 5e5})
    convert(folder, one, Storage.AUTO)
    before = {
        "rope_theta": 5e5,
        "rope_scaling": {**scaling, "type": "llama3"},
        "dtype": None,
        "torch_dtype": "bfloat16",
    }
    change(folder / "config.json", rope_parameters=None, **before)
    convert(folder, other, Storage.AUTO)
    assert one.read_bytes() == other.read_bytes()


def test_numbers_that_half_precision_cannot_hold(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("llama")
    tensors = checkpoint.load(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    checkpoint.save(folder, {**tensors, name: tensors[name] * 1e7})
    with pytest.raises(Refused, match=f"tensor {name} has numbers that half precision cannot hold"):
        convert(folder, tmp_path / "out.gguf", Storage.F16)


def test_a_process_that_dies_leaves_nothing(
    made: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "nonsense")  # no Python starts with that
    with pytest.raises(Unavailable, match="the conversion ended with"):
        converted(made.folder / "llama", tmp_path / "gguf", print, revision=None)
    assert [path.name for path in (tmp_path / "gguf").iterdir()] == ["lock"]


def test_a_repository_of_safetensors_generates_and_is_converted_once(made: Decoders, tmp_path: Path) -> None:
    answer = made.answers["llama"][0]
    artifacts = tmp_path / "artifacts"
    found = []
    for start in ("first", "second"):
        folder = tmp_path / start
        folder.mkdir()
        flags = ["--artifacts", str(artifacts), "--vcpus", "1"]
        with Replica(folder, made.folder / "llama", "text-generation", *flags) as replica:
            replica.ready()
            asked = {"inputs": answer.prompt, "parameters": {"max_new_tokens": 4, "return_full_text": False}}
            (told,) = replica.ask(asked)
            assert told["generated_text"]
            chat = replica.post(
                {"prompt": answer.prompt, "max_tokens": 4, "temperature": 0}, "/v1/completions"
            )
            assert chat.json()["usage"]["completion_tokens"] == 4, chat.text
            info = replica.http.get("/info").json()
            assert (info["engine"], info["architecture"]) == ("llama.cpp", "llama")
            replica.terminate()
            assert replica.ended() == 0
        found.append([(path.name, path.stat().st_ino) for path in artifacts.rglob("*.gguf")])
    assert len(found[0]) == 1
    assert found[0] == found[1]
