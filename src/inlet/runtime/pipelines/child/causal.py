"""text-generation: decoder-only models, whole or piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import torch
import transformers

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.generating import arguments, without_stop
from inlet.runtime.pipelines.child.source import Source

_NEAR = 8  # tokens before a new one that its text may depend on


@dataclass(frozen=True, slots=True)
class _Prompt:
    """`given`: what `generate` gets besides the prompt; `before`: tokens that the answer's text goes on from."""

    encoded: Any
    given: dict[str, Any]
    length: int
    before: list[int]


class Causal:
    """A language model with its tokenizer."""

    def __init__(self, source: Source) -> None:
        self._model = source.read(transformers.AutoModelForCausalLM)
        self._tokenizer = source.part(transformers.AutoTokenizer)

    def __call__(self, items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """For each prompt what follows it: `{text, finish_reason, prompt_tokens, generated_tokens, tokens}` per sequence."""
        return [self._one(item, f"inputs[{index}]", parameters) for index, item in enumerate(items)]

    def stream(self, item: Any, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """`{text}` as it comes; the last has everything that the whole answer has. Closing it ends the generation."""
        return self._streamed(self._prepared(item, "inputs[0]", parameters), parameters)

    def _streamed(self, prompt: _Prompt, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        pieces: SimpleQueue[str | None] = SimpleQueue()
        gone = threading.Event()
        outcome: list[Any] = []
        streamer = _Pieces(prompt.before, self._continuation, pieces)
        given = {**prompt.given, "num_beams": 1, "streamer": streamer, "stopping_criteria": [_Until(gone)]}

        def run() -> None:
            try:
                outcome.append(self._generated(replace(prompt, given=given), parameters)[0])
            except BaseException as error:  # noqa: BLE001 - raised again where the pieces are read
                outcome.append(error)
            finally:
                pieces.put(None)

        thread = threading.Thread(target=run, name="generate", daemon=True)
        thread.start()
        try:
            held = _Held(parameters.get("stop", []))
            while (piece := pieces.get()) is not None:
                if text := held.add(piece):
                    yield {"text": text}
            if isinstance(outcome[0], BaseException):
                raise outcome[0]
            sent = held.sent
            yield {**outcome[0], "text": outcome[0]["text"][sent:]}
        finally:
            gone.set()
            thread.join()

    def _one(self, item: Any, field: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._generated(self._prepared(item, field, parameters), parameters)

    def _generated(self, prompt: _Prompt, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with torch.inference_mode():
            made = self._model.generate(**prompt.encoded, **prompt.given)
        return [self._described(row[prompt.length :].tolist(), prompt, parameters) for row in made]

    def _described(self, ids: list[int], prompt: _Prompt, parameters: Mapping[str, Any]) -> dict[str, Any]:
        ends = self._model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        end = next((place + 1 for place, token in enumerate(ids) if token in ends), None)
        ids = ids[:end]  # what follows is padding
        text, stopped = without_stop(self._continuation(prompt.before, ids), parameters.get("stop", []))
        special = set(self._tokenizer.all_special_ids)
        return {
            "text": text,
            "finish_reason": "stop_sequence" if stopped else "length" if end is None else "eos_token",
            "prompt_tokens": prompt.length,
            "generated_tokens": len(ids),
            "tokens": [
                {
                    "id": token,
                    "text": self._tokenizer.decode([token]),
                    "logprob": None,
                    "special": token in special,
                }
                for token in ids
            ]
            if parameters.get("details")
            else [],
        }

    def _continuation(self, before: list[int], ids: list[int]) -> str:
        """The text of tokens that follow others: whether it begins with a space, only these can tell."""
        near = before[-_NEAR:]
        known = self._tokenizer.decode(near, skip_special_tokens=True)
        return str(self._tokenizer.decode([*near, *ids], skip_special_tokens=True)[len(known) :])

    def _prepared(self, item: Any, field: str, parameters: Mapping[str, Any]) -> _Prompt:
        encoded = (
            self._chat(item, field) if isinstance(item, list) else self._tokenizer(item, return_tensors="pt")
        )
        encoded.pop("token_type_ids", None)
        longest = self._longest
        kept = parameters.get("truncate")
        if kept is None and parameters.get("truncation") and longest is not None:
            kept = max(1, longest - parameters.get("max_new_tokens", 1))
        if kept is not None:
            encoded = {name: ids[:, -kept:] for name, ids in encoded.items()}
        length = encoded["input_ids"].shape[1]
        if not length:
            raise BadInput("nothing of it is left as tokens", field)
        room = None if longest is None else longest - length
        if room is not None and room < 1:
            raise BadInput(
                f'{length} tokens, but this model takes {longest} with the answer; shorten it, or clip it with "truncation": true',
                field,
            )
        given = arguments(self._model, parameters, tokenizer=self._tokenizer, prompt=length, room=room)
        begins = isinstance(item, list) and not _goes_on(item)  # a message of its own
        return _Prompt(encoded, given, length, [] if begins else encoded["input_ids"][0].tolist())

    def _chat(self, messages: list[Any], field: str) -> Any:
        if not self._tokenizer.chat_template:
            raise BadInput("this model has no chat template; send a string", field)
        try:
            goes_on = _goes_on(messages)
            return self._tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                return_tensors="pt",
                return_dict=True,
            )
        except Exception as error:  # templates refuse by exceptions of their own, as on an unknown role
            raise BadInput(f"the model's chat template does not take it: {error}", field) from error

    @property
    def _longest(self) -> int | None:
        """Tokens of prompt and answer together; None for a model without such a bound."""
        config = self._model.config.get_text_config()
        found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        return int(found) if found else None


def _goes_on(messages: list[Any]) -> bool:
    """Whether the answer goes on with the last message, rather than being one more."""
    return bool(messages[-1]["role"] == "assistant")


class _Pieces(transformers.generation.BaseStreamer):  # type: ignore[misc]  # transformers is not there where types are checked
    """Puts text into a queue as soon as it is whole: a character may take several tokens."""

    def __init__(
        self,
        before: list[int],
        continuation: Callable[[list[int], list[int]], str],
        queue: SimpleQueue[str | None],
    ) -> None:
        self._done, self._continuation, self._queue = before, continuation, queue
        self._open: list[int] = []
        self._begun = False

    def put(self, value: Any) -> None:
        """First the prompt, then one token at a time."""
        if not self._begun:
            self._begun = True
            return
        self._open += value.flatten().tolist()
        text = self._continuation(self._done, self._open)
        if text and not text.endswith("\ufffd"):
            self._queue.put(text)
            self._done = (self._done + self._open)[-_NEAR:]
            self._open = []

    def end(self) -> None:
        """What is left is in the whole answer."""


class _Until(transformers.StoppingCriteria):  # type: ignore[misc]
    """Ends the generation when nobody reads it any more."""

    def __init__(self, gone: threading.Event) -> None:
        self._gone = gone

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002
        return torch.full((len(input_ids),), self._gone.is_set(), dtype=torch.bool)


class _Held:
    """Keeps back what may be the beginning of a stop string. `sent`: characters that were let through."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._text = ""
        self.sent = 0

    def add(self, piece: str) -> str:
        """What may be shown now."""
        self._text += piece
        safe, stopped = without_stop(self._text, self._stops)
        if not stopped and self._stops:
            safe = safe[: len(safe) - max(map(self._begun, self._stops))]
        shown = safe[self.sent :]
        self.sent = max(self.sent, len(safe))
        return shown

    def _begun(self, stop: str) -> int:
        """Characters at the end that `stop` begins with."""
        return next(
            (
                length
                for length in range(min(len(stop), len(self._text)), 0, -1)
                if self._text.endswith(stop[:length])
            ),
            0,
        )
