"""Serves an encoder: tokenizes, batches, computes and writes the answer. Made by `starting`, asked by `app`.

Short texts are tokenized and small answers written on the event loop, where that takes less than handing them to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from inlet.runtime import answers, body, info
from inlet.runtime.answers import Answer
from inlet.runtime.dialect import normalise
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Serving

if TYPE_CHECKING:
    # They import numpy and the tokenizers, which load in a thread while `/health` answers already.
    from inlet.runtime.batcher import Batcher
    from inlet.runtime.loader import Loaded
    from inlet.runtime.tasks.base import Work

_INLINE_CHARACTERS = 2_000  # tokenizing more than this takes longer than handing it to a thread
_TEXT_CHARACTERS = 50  # as many characters take as long as one more text, be it an empty one
_INLINE_NUMBERS = 4_000  # the same for writing JSON
_PREDICT = "/predict"  # where the stock container's spelling meets another one


@dataclass(frozen=True, slots=True)
class Computed:
    """What a request's texts became, in their order. Seconds: `tokenizing`; `queueing`, until the first was begun; `computing`, from then on."""

    rows: list[Any]
    texts: int
    characters: int
    tokens: int
    tokenizing: float
    queueing: float
    computing: float

    @property
    def numbers(self) -> int:
        """About how many values the answer has."""
        return sum(getattr(row, "size", 16) for row in self.rows) + self.texts


class Encoding(Serving):
    """A loaded encoder with its batcher."""

    def __init__(self, loaded: Loaded, batcher: Batcher) -> None:
        super().__init__()
        self.loaded, self.batcher = loaded, batcher

    @property
    def task(self) -> str:
        return self.loaded.task.name

    def admit(self, arrived: float, patience: float | None) -> None:
        self.batcher.admit(arrived, patience)

    async def answer(self, asked: Asked) -> Answer:
        received = body.parse(asked.content, asked.headers)
        if asked.path == _PREDICT:
            from inlet.runtime.protocols import tei

            if tei.spells(self, received):
                return await tei.predict(self, asked, received)
        task = self.loaded.task
        request = normalise(
            received,
            known=task.parameters,
            inputs_at_root=task.inputs_at_root,
            query=asked.query,
            dialect=asked.dialect,
            shapes=asked.shapes,
        )
        work = task.plan(request)
        computed = await self.compute(work, asked)
        return await self.written(lambda: work.answer(computed.rows), computed)

    async def compute(self, work: Work, asked: Asked) -> Computed:
        """What was planned for this request: its rows, and what they took."""
        if self.loaded.recorder is not None:
            self.loaded.recorder.see(work.texts)
        begin = perf_counter()
        encoded = await maybe_threaded(work.encode, inline=encodes_inline(work))
        between = begun = perf_counter()

        def begins() -> None:
            nonlocal begun
            begun = perf_counter()

        rows = await self.batcher.run(
            encoded, work.reduce, arrived=asked.arrived, patience=asked.patience, on_begin=begins
        )
        return Computed(
            rows,
            texts=len(encoded),
            characters=_characters(work),
            tokens=sum(map(len, encoded)),
            tokenizing=between - begin,
            queueing=begun - between,
            computing=perf_counter() - begun,
        )

    async def written(self, value: Callable[[], Any], computed: Computed) -> Answer:
        """The answer with that value as JSON."""

        def finish() -> bytes:
            return answers.dump(value())

        payload: bytes = await maybe_threaded(finish, inline=computed.numbers <= _INLINE_NUMBERS)
        return Answer(
            200,
            payload,
            headers={
                "x-compute-characters": str(computed.characters),
                "x-inlet-precision": self.loaded.choice.engine.variant.precision,
            },
        )

    def describe(self, options: Options) -> Mapping[str, Any]:
        return info.of_encoder(options, self.loaded)

    def close(self) -> None:
        self.batcher.close()


def encodes_inline(work: Work) -> bool:
    """Whether the texts are tokenized sooner than handed to a thread."""
    return _characters(work) + _TEXT_CHARACTERS * len(work.texts) <= _INLINE_CHARACTERS


def _characters(work: Work) -> int:
    return sum(len(text.text) + len(text.pair or "") for text in work.texts)


async def maybe_threaded(function: Callable[[], Any], *, inline: bool) -> Any:
    """What the function returns; called on the event loop only where that is quick."""
    return function() if inline else await asyncio.to_thread(function)
