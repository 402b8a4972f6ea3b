"""The pure parts of text generation: which file, how much context, which parameters; bad ones are refused and nothing else."""

from __future__ import annotations

import contextlib
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inlet.core.errors import Invalid, Refused
from inlet.runtime.generation import files, openai
from inlet.runtime.generation.bounds import check_nesting
from inlet.runtime.generation.header import Header, Template, read_header
from inlet.runtime.generation.parameters import KNOWN, read
from inlet.runtime.generation.plan import make_plan
from inlet.runtime.generation.settings import Mode, Settings

GB = 10**9
SIZES = {
    "m-Q4.gguf": 4 * GB, "m-Q8.gguf": 8 * GB, "big/m-F16-00001-of-00002.gguf": 9 * GB, "big/m-F16-00002-of-00002.gguf": 7 * GB,
    "mmproj-m.gguf": GB, "config.json": 10,
}  # fmt: skip
PLAIN = Template(reasons=False, tools=False)
MODEL = Header(
    architecture="llama", context=32_768, cache_bytes=100_000, template=PLAIN, pools=False, ranks=False
)


@pytest.mark.parametrize(
    ("named", "memory", "chosen"),
    [
        (None, 6 * GB, ["m-Q4.gguf"]),
        (None, 11 * GB, ["m-Q8.gguf"]),
        (None, 20 * GB, ["big/m-F16-00001-of-00002.gguf", "big/m-F16-00002-of-00002.gguf"]),
        ("/repository/m-Q4.gguf", 20 * GB, ["m-Q4.gguf"]),
        (
            "big/m-F16-00002-of-00002.gguf",
            GB,
            ["big/m-F16-00001-of-00002.gguf", "big/m-F16-00002-of-00002.gguf"],
        ),
    ],
)
def test_the_largest_that_fits_is_chosen_or_the_one_that_is_named(
    named: str | None, memory: int, chosen: list[str]
) -> None:
    assert list(files.choose(SIZES, named=named, memory=memory)) == chosen


@pytest.mark.parametrize(
    ("sizes", "named", "reason"),
    [
        (SIZES, None, "m-Q4.gguf alone has 4.0 GB of weights, and 1.0 GB of memory are there"),
        (
            SIZES,
            "m-Q5.gguf",
            "LLAMA_ARG_MODEL: there is no file 'm-Q5.gguf'; there are: big/m-F16-00001-of-00002.gguf, m-Q4",
        ),
        (
            {"a-00001-of-00002.gguf": 1},
            None,
            "a-00002-of-00002.gguf is missing, a part of a-00001-of-00002.gguf",
        ),
    ],
)
def test_a_file_that_is_not_there_or_does_not_fit(
    sizes: dict[str, int], named: str | None, reason: str
) -> None:
    with pytest.raises(Refused, match=re.escape(reason)):
        files.choose(sizes, named=named, memory=GB)


def test_context_is_what_fits() -> None:
    plenty = make_plan(MODEL, GB, Settings(), 16 * GB)
    assert (plenty.context, plenty.parallel) == (8192, 4)
    tight = make_plan(MODEL, GB, Settings(), 2 * GB)
    assert 512 <= tight.context < 8192
    assert tight.context % 256 == 0
    asked = make_plan(MODEL, GB, Settings(context=8192, parallel=2), 16 * GB)
    assert (asked.context, asked.parallel) == (4096, 2)
    for plan in (plenty, tight, asked):
        assert plan.prompts >= 0


@given(
    weights=st.integers(0, 40 * GB), memory=st.integers(GB // 10, 64 * GB), cache=st.integers(0, 2**22), trained=st.integers(0, 2**20),
    context=st.none() | st.integers(1, 2**20), parallel=st.none() | st.integers(1, 256),
)  # fmt: skip
@example(weights=0, memory=400_000_001, cache=0, trained=1, context=None, parallel=None)
def test_a_plan_fits_or_is_refused(
    weights: int, memory: int, cache: int, trained: int, context: int | None, parallel: int | None
) -> None:
    header = Header("llama", trained, cache, template=PLAIN, pools=False, ranks=False)
    try:
        plan = make_plan(header, weights, Settings(context=context, parallel=parallel), memory)
    except Refused:
        return
    assert plan.context >= 1
    assert weights + plan.context * plan.parallel * cache + plan.prompts <= memory


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"LLAMA_ARG_N_PARALLEL": "0"}, "LLAMA_ARG_N_PARALLEL: '0' is not a whole number from 1 to 256"),
        ({"LLAMA_ARG_POOLING": "most"}, "LLAMA_ARG_POOLING: 'most' is not one of mean, cls, last, rank"),
        ({"LLAMA_ARG_POOLING": "mean"}, "LLAMA_ARG_POOLING: mean is not how a model for generation works"),
        (
            {"LLAMA_ARG_POOLING": "mean", "LLAMA_ARG_RERANKING": "1"},
            "LLAMA_ARG_POOLING: mean is not how a model for reranking works",
        ),
        ({"LLAMA_ARG_EMBEDDINGS": "2"}, "LLAMA_ARG_EMBEDDINGS: '2' is not 1 or 0"),
        (
            {"LLAMA_ARG_N_GPU_LAYERS": "3"},
            "LLAMA_ARG_N_GPU_LAYERS: layers are computed on the processor here",
        ),
    ],
)
def test_a_setting_that_cannot_be_read(env: dict[str, str], reason: str) -> None:
    with pytest.raises(Refused, match=re.escape(reason)):
        Settings.from_env(env)


def test_settings() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"LLAMA_ARG_RERANKING": "true"}).mode is Mode.RERANKING
    assert Settings.from_env({"LLAMA_ARG_CTX_SIZE": "0"}).context is None


def said(key: str, kind: int, value: bytes) -> bytes:
    """One entry of a header."""
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "entry",
    [
        said("llama.context_length", 5, struct.pack("<i", -5)),
        said("llama.block_count", 10, struct.pack("<Q", 2**63)),
        said("llama.attention.head_count_kv", 9, struct.pack("<IQi", 5, 1, -5)),
        said("llama.attention.head_count_kv", 9, struct.pack("<IQf", 6, 1, float("nan"))),
        said("llama.attention.head_count_kv", 9, struct.pack("<IQf", 6, 1, float("inf"))),
        said("tokenizer.chat_template", 8, struct.pack("<Q", 2**63)),
        said("tokenizer.chat_template", 8, struct.pack("<Q", 9) + b"short"),
        said("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2**63)),
        said("k" * 70_000, 4, struct.pack("<I", 1)),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: bytes) -> None:
    file = tmp_path / "a.gguf"
    architecture = said("general.architecture", 8, struct.pack("<Q", 5) + b"llama")
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + architecture + entry)
    with pytest.raises(Refused, match="is not a GGUF file that can be read"):
        read_header(file)


def test_long_texts_of_a_header_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    with file.open("wb") as content:
        content.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 2))
        content.write(said("tokenizer.chat_template", 8, struct.pack("<Q", 10**8)))
        content.seek(10**8, 1)
        content.write(said("general.architecture", 8, struct.pack("<Q", 5) + b"llama"))
    tracemalloc.start()
    header = read_header(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (header.template, header.architecture) == (Template(reasons=False, tools=True), "llama")
    assert most < 10**7


@pytest.mark.parametrize(
    ("template", "reasons", "tools"),
    [
        ("{{ messages }}", False, False),
        ("{{ messages }}<think>\n", True, False),
        ("<|channel|>final {{ tools }}", True, True),
    ],
)
def test_what_a_template_tells_of_its_model(
    tmp_path: Path, template: str, reasons: bool, tools: bool
) -> None:
    file = tmp_path / "a.gguf"
    text = struct.pack("<Q", len(template)) + template.encode()
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + said("tokenizer.chat_template", 8, text))
    assert read_header(file).template == Template(reasons=reasons, tools=tools)


def test_json_of_a_model_that_thinks_first_or_calls_tools_is_left_to_llama_cpp() -> None:
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "string"}}}
    asked = {"messages": [{"role": "user", "content": "a"}], "response_format": form}
    tools = [{"type": "function", "function": {"name": "a"}}]
    thinks, calls = Template(reasons=True, tools=False), Template(reasons=False, tools=True)
    with pytest.raises(Invalid, match=r"tools: .* has no place for tools"):
        openai.chat(PLAIN, {**asked, "tools": tools})
    assert "grammar" in openai.chat(PLAIN, asked)
    for left in (openai.chat(thinks, asked), openai.chat(calls, {**asked, "tools": tools})):
        assert "grammar" not in left
        assert left["response_format"]["json_schema"]["schema"] == {"type": "string"}


def test_a_model_that_is_not_there_as_a_whole_hides_no_other() -> None:
    sizes = {"a-00001-of-99999.gguf": 9, "b.gguf": 1}
    assert files.choose(sizes, named=None, memory=GB) == ("b.gguf",)
    with pytest.raises(Refused, match="there is no file 'a-00001"):
        files.choose(sizes, named="a-00001-of-99999.gguf", memory=GB)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + content)
    with contextlib.suppress(Refused):
        read_header(file)


_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*sorted(KNOWN), "generate_kwargs", "odd"]), _VALUES))
def test_parameters_are_read_or_refused(values: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        assert 1 <= read(values, context=100, full_text=False).sampling["n_predict"] <= 100


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "response_format", "stop", "stream", "lora"]), _VALUES
    )
)
def test_chats_are_changed_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        assert openai.chat(PLAIN, body)["messages"]


def test_greedy_unless_something_asks_for_chance() -> None:
    assert read({}, context=9, full_text=False).sampling["temperature"] == 0
    assert read({"do_sample": False, "top_p": 0.5}, context=9, full_text=False).seed is None
    chance = read({"top_p": 0.5, "seed": 2**33}, context=9, full_text=False)
    assert chance.seed == 2**33
    assert chance.sampling["seed"] < 2**32 - 1


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"max_new_tokens": 10**30}, "max_new_tokens: must be at most 9, got 1"),
        ({"max_new_tokens": 1e30}, "max_new_tokens: must be at most 9, got 1e+30"),
        ({"max_new_tokens": 5.5}, "max_new_tokens: expected a whole number, got 5.5"),
        ({"seed": float(2**64)}, "seed: must be at most 18446744073709551615, got 1.8446744073709552e+19"),
    ],
)
def test_numbers_that_cannot_be_are_refused_as_what_they_are(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(Invalid, match=re.escape(f"parameters.{problem}")):
        read(value, context=9, full_text=False)


CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"messages": []}, "messages: it is empty: send at least one message"),
        ({"max_tokens": 10**12}, "max_tokens: must be from -1 to 2147483647, got 1000000000000"),
        ({"max_completion_tokens": -2}, "max_completion_tokens: must be from -1 to"),
        ({"seed": 1e30}, "seed: must be from"),
        ({"n": 0}, "n: must be from 1"),
        ({"top_k": 2**31}, "top_k: must be from -1"),
        ({"dry_multiplier": 1e308}, "dry_multiplier: must be from"),
        ({"temperature": -0.1}, "temperature: must be from 0 to"),
        ({"top_p": 1.1}, "top_p: must be from 0 to 1, got 1.1"),
        ({"stop": ""}, "stop: must not have an empty text"),
        ({"stop": ["a", ""]}, "stop: must not have an empty text"),
        ({"stop": ["a", 1]}, "stop: expected a string or a list of strings"),
        ({"samplers": ["top_k", "nope"]}, "samplers: expected a list of adaptive_p, dry"),
        ({"samplers": "kz"}, "samplers: expected a list of"),
        ({"samplers": 3}, "samplers: expected a list of"),
        ({"logit_bias": {str(token): 1 for token in range(10_001)}}, "logit_bias: has more than the 10000 tokens"),
        ({"logit_bias": [[5, 1]] * 10_001}, "logit_bias: has more than the 10000 tokens"),
        ({"logit_bias": {"a" * 10_001: 1}}, "logit_bias: has more than the 10000 tokens"),
        ({"logit_bias": 5}, "logit_bias: expected an object of numbers by token, got a number"),
        ({"functions": [{"name": "a"}]}, "functions: is not available here"),
        ({"modalities": ["text", "audio"]}, "modalities: is not available here"),
    ],
)  # fmt: skip
def test_what_would_not_count_as_it_was_sent_is_refused(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(Invalid, match="^" + re.escape(problem)):
        openai.chat(PLAIN, {**CHAT, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"best_of": 2},
        {"echo": True},
        {"suffix": "b"},
        {"grammar_triggers": [{"type": 9, "value": "a"}]},
        {"chat_parser": "a"},
    ],
)
def test_what_a_completion_has_not_is_refused(more: dict[str, Any]) -> None:
    [name] = more
    with pytest.raises(Invalid, match=f"^{name}: is not available here"):
        openai.completion({"prompt": "a", **more})


def test_what_asks_for_nothing_is_taken() -> None:
    sampling = {
        "temperature": 0,
        "top_k": -1,
        "seed": -1,
        "max_tokens": -1,
        "stop": ["a"],
        "samplers": ["top_k"],
    }
    biased = {"logit_bias": {str(token): -100 for token in range(10_000)}}
    hints = {"user": "a", "store": False, "metadata": {"a": "b"}, "functions": [], "modalities": ["text"]}
    asked = {**CHAT, **sampling, **biased, **hints}
    assert openai.chat(PLAIN, {**asked, "top_p": None, "audio": None}) == asked
    nothing = {"best_of": 1, "echo": False, "suffix": "", "samplers": "kpt"}
    assert openai.completion({"prompt": "a", **nothing, "stop": None}) == {"prompt": "a", **nothing}


def test_nesting_is_bounded() -> None:
    flat: Any = list(range(1_000))
    for _ in range(99):
        flat = [flat]
    check_nesting({"messages": flat, "model": "x"})
    with pytest.raises(Invalid, match=r"^messages: nested more than 100 levels deep"):
        check_nesting({"model": "x", "messages": {"a": flat}})
