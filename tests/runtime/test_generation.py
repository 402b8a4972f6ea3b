"""Text generation by llama.cpp behind a real replica: its routes, the official clients, and what callers may do to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import openai
import psutil
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.process import HUB_CLIENT, Replica, eventually
from tests.runtime.tiny_gguf import CALL, CONTEXT, END, make_gguf
from tests.system import has_ended, reserved_port

pytest.importorskip("xllamacpp")

TOO_LONG = "on and on " * CONTEXT
ENDLESS = {"inputs": "once", "parameters": {"max_new_tokens": CONTEXT}}  # minutes
SCHEMA = {
    "type": "object",
    "properties": {"warm": {"type": "boolean"}},
    "required": ["warm"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather", "parameters": SCHEMA},
}


CLOCK = {"type": "function", "function": {"name": "clock", "parameters": SCHEMA}}
MESSAGES: Any = [{"role": "user", "content": "is it warm?"}]


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "any", "schema": schema}}


def _nested(levels: int) -> dict[str, Any]:
    """A schema of objects within each other."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


class Llama:
    """A replica on a port, with a tiny model that two requests may use at once; the tests reach its llama.cpp as well."""

    def __init__(self, folder: Path, port: int) -> None:
        (folder / "model").mkdir()
        (folder / "private").mkdir()
        make_gguf(folder / "model" / "tiny-F32.gguf")
        self.url, self.log, self._private = f"http://127.0.0.1:{port}", folder / "log", folder / "private"
        self._command = [
            sys.executable, "-m", "inlet.runtime", "--model", str(folder / "model"), "--task", "text-generation",
            "--port", str(port), "--vcpus", "1", "--memory", "2000000000",
        ]  # fmt: skip
        self._env = {
            **os.environ,
            "TMPDIR": str(self._private),
            "LLAMA_ARG_N_PARALLEL": "2",
            "LLAMA_ARG_CTX_SIZE": str(2 * CONTEXT),
        }
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.http.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        eventually(ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()

    def ask(self, path: str, value: Any, status: int = 200, **headers: str) -> Any:
        answer = self.http.post(path, json=value, headers=headers)
        assert answer.status_code == status, f"{answer.text}\n{self.log.read_text()}"
        return answer.json()

    def chat(self, asked: dict[str, Any]) -> str:
        """The text of a chat's one answer that came to its end by itself, whole or streamed."""
        answer = self.http.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        if not asked.get("stream"):
            [choice] = answer.json()["choices"]
            assert choice["finish_reason"] == "stop"
            return choice["message"]["content"]
        lines = [
            line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")
        ]
        choices = [choice for line in lines for choice in json.loads(line)["choices"]]
        assert choices[-1]["finish_reason"] == "stop"
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    def busy(self) -> int:
        """How many texts llama.cpp itself says that it is generating."""
        with self._own() as own:
            return sum(slot["is_processing"] for slot in own.get("/slots").json())

    def token(self, text: str) -> int:
        """The number of the one token that this is."""
        with self._own() as own:
            [token] = own.post("/tokenize", json={"content": text, "parse_special": True}).json()["tokens"]
        return int(token)

    def _own(self) -> httpx.Client:
        """llama.cpp itself."""
        path = next(self._private.glob("*/program.sock"))
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://l")

    @property
    def engine(self) -> psutil.Process:
        """The process of llama.cpp."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if "inlet.runtime.generation.llama" in child.cmdline())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    with reserved_port() as port, Llama(tmp_path_factory.mktemp("l"), port) as replica:
        yield replica


@pytest.fixture(scope="module")
def hub(llama: Llama) -> InferenceClient:
    return InferenceClient(model=llama.url, token="hf_x")


@pytest.fixture(scope="module")
def sdk(llama: Llama) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{llama.url}/v1", api_key="x", max_retries=0)


def test_the_native_route_speaks_both_dialects(llama: Llama) -> None:
    request = {"inputs": "hello", "parameters": {"max_new_tokens": 8}}
    [whole] = llama.ask("/", request)
    [rest] = llama.ask("/predict", request, **HUB_CLIENT)
    assert whole == {"generated_text": "hello" + rest["generated_text"]}
    assert llama.ask("/generate", request) == rest
    assert llama.ask("/", {**request, "inputs": ["hello", "hello"]}, **HUB_CLIENT) == [[rest], [rest]]
    chat = [{"role": "user", "content": "hello"}]
    [answer] = llama.ask("/", {**request, "inputs": chat})
    assert answer["generated_text"][:1] == chat
    assert answer["generated_text"][1]["role"] == "assistant"


def test_details_tell_every_token(llama: Llama) -> None:
    parameters = {"max_new_tokens": 12, "details": True, "top_n_tokens": 2, "seed": 7, "temperature": 0.5}
    answer = llama.ask("/generate", {"inputs": "hello", "parameters": parameters})
    details = answer["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["seed"]) == ("length", 12, 7)
    assert len(details["top_tokens"]) == len(details["tokens"]) > 1
    assert all(token["logprob"] < 0 for token in details["tokens"])
    assert llama.ask("/generate", {"inputs": "hello", "parameters": parameters}) == answer  # the seed's doing


def test_it_stops_where_it_is_told(llama: Llama) -> None:
    text = llama.ask("/generate", {"inputs": "hello", "parameters": {"max_new_tokens": 60}})["generated_text"]
    stop = next(sign for sign in text[3:] if sign.isascii() and sign.isprintable())
    answer = llama.ask(
        "/generate",
        {"inputs": "hello", "parameters": {"max_new_tokens": 60, "stop": [stop], "details": True}},
    )
    assert answer["generated_text"] == text[: text.index(stop)]
    assert answer["details"]["finish_reason"] == "stop_sequence"


def test_a_prompt_is_cut_to_its_last_tokens(llama: Llama) -> None:
    cut = {"max_new_tokens": 8, "truncate": 2}
    assert llama.ask("/generate", {"inputs": "xxhi", "parameters": cut}) == llama.ask(
        "/generate", {"inputs": "yyhi", "parameters": cut}
    )


def test_hub_client_generates(hub: InferenceClient, llama: Llama) -> None:
    whole = hub.text_generation("hello", max_new_tokens=8, details=True)
    assert whole.details.generated_tokens == 8
    pieces = list(hub.text_generation("hello", max_new_tokens=8, details=True, stream=True))
    assert "".join(piece.token.text for piece in pieces) == whole.generated_text == pieces[-1].generated_text
    assert pieces[-1].details.finish_reason == "length"
    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))
    with llama.http.stream("POST", "/generate_stream", json={"inputs": "hello"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
    with pytest.raises(HfHubHTTPError, match=f"more than the {CONTEXT}"):
        hub.text_generation(TOO_LONG)
    with pytest.raises(HfHubHTTPError, match="max_new_tokens: must be at least 1"):
        hub.text_generation("hello", max_new_tokens=0)


def test_hub_client_chats(hub: InferenceClient) -> None:
    messages = [{"role": "user", "content": "is it warm?"}]
    whole = hub.chat_completion(messages, max_tokens=8, temperature=0)
    assert whole.usage.completion_tokens == 8
    pieces = list(hub.chat_completion(messages, max_tokens=8, temperature=0, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content
    forms = (
        {
            "type": "json_object",
            "value": SCHEMA,
        },  # text-generation-inference's, to which the client turns OpenAI's
        {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}},
    )
    for form in forms:
        answer = hub.chat_completion(messages, max_tokens=400, response_format=form)
        assert set(json.loads(answer.choices[0].message.content)) == {"warm"}


def test_openai_client(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["model"]
    messages: Any = [{"role": "user", "content": "is it warm?"}]
    plain, told = (
        sdk.chat.completions.create(model="whatever", messages=messages, max_tokens=8, tools=tools)
        for tools in ([], [WEATHER])
    )
    assert (
        told.usage.prompt_tokens > plain.usage.prompt_tokens > 0
    )  # the template tells the model of the tool
    with sdk.chat.completions.create(
        model="x", messages=messages, max_tokens=8, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *_, last = stream
    assert last.usage.completion_tokens == 8
    assert sdk.completions.create(model="x", prompt="hello", max_tokens=4).usage.completion_tokens == 4
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.completions.create(model="x", prompt=TOO_LONG)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(model="x", messages=[{"role": "user", "content": 5}])  # type: ignore[misc]
    assert refused.value.param == "messages[0].content"
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}
    with pytest.raises(openai.BadRequestError, match="reads text only"):
        sdk.chat.completions.create(model="x", messages=[{"role": "user", "content": [image]}])  # type: ignore[list-item]


@pytest.mark.parametrize("more", [{}, {"n": 2}, {"logprobs": True, "top_logprobs": 2}, {"tools": [WEATHER]}])
def test_a_whole_chat_is_what_its_stream_says(sdk: openai.OpenAI, more: dict[str, Any]) -> None:
    asked: Any = {"model": "x", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, **more}
    whole = sdk.chat.completions.create(**asked)
    texts = [""] * len(whole.choices)
    for piece in sdk.chat.completions.create(**asked, stream=True):
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [choice.message.content for choice in whole.choices] == texts
    assert [choice.finish_reason for choice in whole.choices] == ["length"] * len(texts)
    assert (whole.object, whole.choices[0].message.role) == ("chat.completion", "assistant")
    assert whole.usage.completion_tokens == 8 * len(texts)
    if "logprobs" in more:
        assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2


def test_whole_completions(llama: Llama) -> None:
    asked = {"prompt": ["hello", "bye"], "max_tokens": 4, "temperature": 0, "logprobs": 1}
    both = llama.ask("/v1/completions", asked)
    assert both["object"] == "text_completion"
    assert [choice["index"] for choice in both["choices"]] == [0, 1]
    for prompt, choice in zip(asked["prompt"], both["choices"], strict=True):
        [alone] = llama.ask("/v1/completions", {**asked, "prompt": prompt})["choices"]
        assert alone["text"] == choice["text"]
        assert choice["logprobs"]["content"]


def test_usage_counts_every_answer(sdk: openai.OpenAI) -> None:
    def used(**asked: Any) -> tuple[int, int, int]:
        """Tokens of prompts, of answers and of both, which are the same where the answer is streamed."""
        create: Any = sdk.chat.completions.create if "messages" in asked else sdk.completions.create
        asked |= {"model": "x", "temperature": 0}
        whole = create(**asked)
        *pieces, last = create(**asked, stream=True, stream_options={"include_usage": True})
        told = [(u.prompt_tokens, u.completion_tokens, u.total_tokens) for u in (whole.usage, last.usage)]
        assert told[0] == told[1]
        if len(whole.choices) > 1:
            assert last.choices == []
            assert all(piece.usage is None and piece.choices for piece in pieces)
            untold = list(create(**asked, stream=True))
            assert all(piece.usage is None and piece.choices for piece in untold)
        return told[0]

    read, made, both = used(messages=MESSAGES, max_tokens=4)
    assert (made, both) == (4, read + 4)
    assert used(messages=MESSAGES, max_tokens=4, n=2) == (read, 8, read + 8)
    prompts = ["hi", "hello there", "once upon a time"]
    alone = [used(prompt=prompt, max_tokens=5)[0] for prompt in prompts]
    assert len(set(alone)) == 3
    assert used(prompt=prompts, max_tokens=5) == (sum(alone), 15, sum(alone) + 15)
    assert used(prompt=prompts, max_tokens=5, n=2) == (sum(alone), 30, sum(alone) + 30)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_tool_is_called(llama: Llama, sdk: openai.OpenAI, choice: Any, stream: bool) -> None:
    wanted: Any = {
        "model": "x", "messages": MESSAGES, "max_tokens": 400, "tool_choice": choice,
        "tools": [WEATHER, *([CLOCK] if choice != "required" else [])],
        # A random model must be told to call, and to call once.
        "logit_bias": {str(llama.token(sign)): worth for sign, worth in {"<": 50, CALL: 100, END: 200}.items()},
    }  # fmt: skip
    if stream:
        with sdk.chat.completions.stream(**wanted) as events:
            answer = events.get_final_completion()
    else:
        answer = sdk.chat.completions.create(**wanted)
    [said] = answer.choices
    [call] = said.message.tool_calls
    assert (said.finish_reason, call.type, call.function.name) == ("tool_calls", "function", "weather")
    assert isinstance(json.loads(call.function.arguments)["warm"], bool)
    assert call.id
    result: Any = [{"role": "tool", "tool_call_id": call.id, "content": "yes"}]
    told = [*MESSAGES, said.message.model_dump(exclude={"parsed"}), *result]
    assert sdk.chat.completions.create(model="x", messages=told, max_tokens=2).usage.completion_tokens == 2


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_no_tool_is_called(sdk: openai.OpenAI, choice: Any) -> None:
    answer = sdk.chat.completions.create(
        model="x", messages=MESSAGES, max_tokens=8, temperature=0, tools=[WEATHER], tool_choice=choice
    )
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_json_of_a_schema(llama: Llama, seed: int, stream: bool) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "sizes": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            "kind": {"enum": ["a", "b"]},
        },
        "required": ["name", "sizes", "kind"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    asked = {
        "messages": MESSAGES,
        "response_format": form,
        "seed": seed,
        "max_tokens": 2_000,
        "stream": stream,
    }
    text = llama.chat(asked)
    thing = json.loads(text)
    assert (set(thing), set(map(type, thing["sizes"]))) == ({"name", "sizes", "kind"}, {int})
    assert thing["kind"] in ("a", "b")
    native = {
        "grammar": {"type": "json", "value": schema},
        "max_new_tokens": 2_000,
        "seed": seed,
        "temperature": 1.0,
    }
    [answer] = llama.ask("/", {"inputs": "hello", "parameters": {**native, "return_full_text": False}})
    assert set(json.loads(answer["generated_text"])) == set(thing)


def test_any_json_object(llama: Llama) -> None:
    asked = {"messages": MESSAGES, "response_format": {"type": "json_object"}, "max_tokens": 2_000}
    ends = {"logit_bias": {str(llama.token("}")): 3}}  # a random model would hardly come to an end
    assert isinstance(json.loads(llama.chat({**asked, **ends})), dict)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": _form({"type": "nonsense"})}, "response_format"),
        ({"response_format": _form({"not": {"type": "string"}})}, "response_format"),
        ({"response_format": _form({"type": "array", "minItems": 10**9})}, "response_format"),
        ({"response_format": _form(_nested(200))}, "response_format"),
        ({"tools": [{**WEATHER, "more": _nested(200)}]}, "tools"),
        ({"grammar": "%llguidance {}\nstart: %json {}"}, "grammar"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": [WEATHER]}, "tool_choice.function.name"),
        ({"tool_choice": "weather", "tools": [WEATHER]}, "tool_choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_to_is_refused(llama: Llama, more: dict[str, Any], param: str) -> None:
    refusal = llama.ask("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 4, **more}, status=400)
    assert refusal["error"]["param"] == param


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"not": {"type": "string"}}, "parameters.grammar: answers cannot be held to this JSON schema"),
        (_nested(200), "parameters: nested more than 100 levels deep"),
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused_natively(
    llama: Llama, schema: dict[str, Any], problem: str
) -> None:
    asked = {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": schema}}}
    assert llama.ask("/", asked, status=400)["error"].startswith(problem)


def test_a_schema_of_many_levels_is_kept_to(llama: Llama) -> None:
    asked = {"messages": MESSAGES, "response_format": _form(_nested(40)), "max_tokens": 1}
    llama.ask("/v1/chat/completions", asked)


def test_a_stream_ends_as_clients_expect(llama: Llama) -> None:
    request = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "stream": True}
    lines = llama.http.post("/v1/chat/completions", json=request).text.splitlines()
    assert [line for line in lines if line][-1] == "data: [DONE]"


def test_several_are_generated_together_and_who_leaves_makes_room(llama: Llama) -> None:
    with (
        llama.http.stream("POST", "/generate_stream", json=ENDLESS) as first,
        llama.http.stream("POST", "/generate_stream", json=ENDLESS) as second,
    ):
        pieces = first.iter_lines(), second.iter_lines()
        for _ in range(20):
            assert all(json.loads(_event(each))["details"] is None for each in pieces)
        assert llama.busy() == 2
        waiting = llama.http.post("/", json={"inputs": "hello"}, headers={"x-inlet-timeout": "0.05"})
        assert waiting.status_code == 429  # both places are taken
        first.close()
        eventually(lambda: llama.busy() == 1, within=30)
        llama.ask("/generate", {"inputs": "hello", "parameters": {"max_new_tokens": 2}})
    eventually(lambda: llama.busy() == 0, within=30)


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/generate", ENDLESS),
        ("/v1/completions", {"prompt": "once", "max_tokens": CONTEXT, "temperature": 0}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "once"}], "temperature": 0}),
    ],
)
def test_one_that_is_not_streamed_is_given_up_as_well(
    llama: Llama, path: str, request_: dict[str, Any]
) -> None:
    body = json.dumps(request_).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with llama.http.stream("POST", "/generate_stream", json=ENDLESS) as other:
        lines = other.iter_lines()
        _event(lines)  # others keep llama.cpp busy
        with socket.create_connection(("127.0.0.1", httpx.URL(llama.url).port or 0)) as caller:
            caller.sendall(head + body)
            eventually(lambda: llama.busy() == 2)
        eventually(lambda: llama.busy() == 1, within=30)
        assert json.loads(_event(lines))["details"] is None
    eventually(lambda: llama.busy() == 0, within=30)


def test_a_killed_engine_comes_back(llama: Llama) -> None:
    engine = llama.engine
    with llama.http.stream("POST", "/generate_stream", json=ENDLESS) as open_:
        lines = open_.iter_lines()
        _event(lines)
        engine.kill()
        *_, last = [line for line in lines if line]
        assert json.loads(last.removeprefix("data:"))["error_type"] == "generation"
    eventually(lambda: "starting it again" in llama.log.read_text())  # until then it may still accept
    assert has_ended(engine)
    llama.ask("/generate", {"inputs": "hello", "parameters": {"max_new_tokens": 2}})
    assert llama.http.get("/health").status_code == 200


def test_what_it_says_of_itself(llama: Llama) -> None:
    about = llama.http.get("/info").json()
    assert (about["task"], about["engine"], about["architecture"]) == (
        "text-generation",
        "llama.cpp",
        "llama",
    )
    assert (about["max_total_tokens"], about["parallel"]) == (CONTEXT, 2)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "value", "text"]), inner)
    ),
    max_leaves=6,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool", "odd"]),
            "content": st.text(max_size=5),
        }
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/", "/generate", "/generate_stream"]),
    inputs=st.text(max_size=5) | _MESSAGES | _VALUES,
    parameters=st.dictionaries(
        st.sampled_from(
            [
                "stop",
                "seed",
                "top_k",
                "top_p",
                "temperature",
                "grammar",
                "truncate",
                "details",
                "typical_p",
                "odd",
            ]
        ),
        _VALUES,
    ),
    stream=st.none() | st.booleans() | _VALUES,
)
def test_no_native_request_is_our_fault(
    llama: Llama, path: str, inputs: Any, parameters: Any, stream: Any
) -> None:
    body = {"inputs": inputs, "parameters": {**parameters, "max_new_tokens": 2}, "stream": stream}
    assert llama.http.post(path, json=body).status_code in (200, 400, 422)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/v1/chat/completions", "/v1/completions"]),
    messages=_MESSAGES | _VALUES,
    more=st.dictionaries(
        st.sampled_from(
            [
                "stop",
                "n",
                "seed",
                "tools",
                "tool_choice",
                "response_format",
                "stream",
                "logprobs",
                "top_logprobs",
                "logit_bias",
                "prompt",
            ]
        ),
        _VALUES,
        max_size=3,
    ),
)
def test_no_openai_request_is_our_fault(llama: Llama, path: str, messages: Any, more: Any) -> None:
    answer = llama.http.post(path, json={"prompt": "a", "messages": messages, **more, "max_tokens": 2})
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert isinstance(answer.json()["error"]["message"], str)


def _event(lines: Iterator[str]) -> str:
    return next(line for line in lines if line).removeprefix("data:")


@pytest.mark.parametrize(
    ("content", "env", "reason"),
    [
        (b"GGUF nonsense", {}, "model: tiny.gguf is not a GGUF file that can be read"),
        (
            None,
            {"LLAMA_ARG_MODEL": "other.gguf"},
            "LLAMA_ARG_MODEL: there is no file 'other.gguf'; there are: tiny.gguf",
        ),
        (None, {"LLAMA_ARG_CTX_SIZE": "many"}, "LLAMA_ARG_CTX_SIZE: 'many' is not a whole number"),
        (
            None,
            {"LLAMA_ARG_N_PARALLEL": "256", "LLAMA_ARG_CTX_SIZE": str(256 * CONTEXT)},
            "model: the model does not fit",
        ),
    ],
)
def test_a_start_that_fails_says_why(
    tmp_path: Path, content: bytes | None, env: dict[str, str], reason: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    if content is None:
        make_gguf(model / "tiny.gguf")
    else:
        (model / "tiny.gguf").write_bytes(content)
    with Replica(tmp_path, model, "text-generation", "--memory", "1000000000", env=env) as replica:
        assert replica.ended() == 78
    assert reason in replica.termination_log.read_text()


def test_a_model_that_llama_cpp_refuses_ends_with_its_words(tmp_path: Path) -> None:
    make_gguf(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(whole[: len(whole) // 2])
    with Replica(tmp_path, tmp_path, "text-generation") as replica:
        assert replica.ended() == 78
    assert "llama.cpp ended with code 78; its last words" in replica.termination_log.read_text()
