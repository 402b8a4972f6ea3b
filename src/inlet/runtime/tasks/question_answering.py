"""question-answering: the part of a context that answers a question, as transformers' pipeline finds it (version 4).

A long context is read in windows that overlap; its best spans of all windows compete. A span's score is the product of
the probabilities of its first and its last token, and spans of the same words add up. Both dialects are alike: one answer is
an object, `top_k` of them a list; a list of questions gets a list of either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from inlet.core.errors import Invalid
from inlet.runtime.dialect import Request, kind
from inlet.runtime.engines.base import FloatArray
from inlet.runtime.model import Model
from inlet.runtime.scores import softmax
from inlet.runtime.tasks.base import Work, check_pairs, read_texts
from inlet.runtime.tasks.parameters import Parameters
from inlet.runtime.texts import Encoded, Source, Text

MAX_ANSWERS = 100  # to one question
MAX_ANSWER_TOKENS = 1_000
_WINDOW = 384  # tokens, unless the model takes fewer
_FORM = '{"question": string, "context": string}'


class _Wanted(NamedTuple):
    """How spans are chosen: `answers` of them, each of at most `tokens`."""

    answers: int
    tokens: int
    whole_words: bool
    or_none: bool


@dataclass(frozen=True, slots=True)
class _Window:
    """What one window has to say: its best answers, and how sure it is that there is none."""

    field: str
    answers: list[dict[str, Any]]
    none: float

    @property
    def size(self) -> int:
        """As of an array: numbers in it."""
        return 4 * len(self.answers)


class QuestionAnswering:
    """Contexts of any length. A question must leave room for the context, or is clipped if the caller says where."""

    name = "question-answering"
    parameters = frozenset(
        {"top_k", "doc_stride", "max_answer_len", "max_seq_len", "max_question_len", "handle_impossible_answer", "align_to_words"}
    )  # fmt: skip
    inputs_at_root = ("question", "context")

    def __init__(self, model: Model) -> None:
        self._model = model

    def plan(self, request: Request) -> Work:
        texts, single = _questions(request.inputs)
        p = Parameters(request.parameters, self.parameters)
        wanted = _Wanted(
            answers=p.integer("top_k", 1, minimum=1, maximum=MAX_ANSWERS),
            tokens=p.integer("max_answer_len", 15, minimum=1, maximum=MAX_ANSWER_TOKENS),
            whole_words=p.boolean("align_to_words", True),
            or_none=p.boolean("handle_impossible_answer", False),
        )
        usual = min(self._model.texts.max_length, _WINDOW)
        encode = partial(
            self._model.texts.answer_windows,
            texts,
            tokens=p.integer("max_seq_len", usual, minimum=1, maximum=self._model.positions),
            stride=p.integer("doc_stride", None),
            question=p.integer("max_question_len", None, minimum=1),
        )

        def reduce(row: FloatArray, encoded: Encoded) -> _Window:
            return _window(row, encoded, wanted)

        def answer(rows: list[_Window]) -> Any:
            windows: dict[str, list[_Window]] = {text.field: [] for text in texts}
            for row in rows:
                windows[row.field].append(row)
            found = [_best(of_one, wanted) for of_one in windows.values()]
            return found[0] if single else found

        return Work(texts, encode, reduce, answer)


def _questions(inputs: Any) -> tuple[list[Text], bool]:
    """Each question with its context, and whether it is one by itself."""
    if isinstance(inputs, list):
        check_pairs(len(inputs), 0, "inputs")
        return [_question(item, f"inputs[{index}]") for index, item in enumerate(inputs)], False
    if not isinstance(inputs, dict):
        raise Invalid(f"expected {_FORM}, or a list of such objects, got {kind(inputs)}", field="inputs")
    questions, contexts = inputs.get("question"), inputs.get("context")
    if not isinstance(questions, list):
        return [_question(inputs, "inputs")], True
    check_pairs(len(questions), 0, "inputs.question")
    if isinstance(contexts, str):
        check_pairs(len(questions), len(questions) * len(contexts), "inputs.question")
        contexts = [contexts] * len(questions)
    if not isinstance(contexts, list) or len(contexts) != len(questions):
        got = f"a list of {len(contexts)}" if isinstance(contexts, list) else kind(contexts)
        raise Invalid(
            f"expected a string or as many of them as there are questions, {len(questions)}, got {got}",
            field="inputs.context",
        )
    return [
        Text(
            _filled(question, f"inputs.question[{index}]"),
            f"inputs.question[{index}]",
            _filled(context, f"inputs.context[{index}]"),
        )
        for index, (question, context) in enumerate(zip(questions, contexts, strict=True))
    ], False


def _question(value: Any, field: str) -> Text:
    if not isinstance(value, dict):
        raise Invalid(f"expected {_FORM}, got {kind(value)}", field=field)
    question = _filled(value.get("question"), f"{field}.question")
    return Text(question, f"{field}.question", _filled(value.get("context"), f"{field}.context"))


def _filled(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Invalid(f"expected a string, got {kind(value)}", field=field)
    ((text,), _) = read_texts(value, field=field)
    if not text.text:
        raise Invalid("must not be empty", field=field)
    return text.text


def _window(row: FloatArray, encoded: Encoded, wanted: _Wanted) -> _Window:
    """`row`: logits [L, 2] of each token being the first and the last of the answer."""
    source, context = encoded.source, encoded.text.pair or ""
    assert source is not None  # noqa: S101 - this task asks for it
    own = np.flatnonzero([owner == 1 for owner in source.owners])
    # The token at the very beginning stands for "no answer"; the question's tokens do not count.
    nobody = [0] if source.special_tokens_mask[0] else []
    scores = softmax(row[np.concatenate((np.array(nobody, dtype=np.int64), own))].T)
    none = float(scores[0, 0] * scores[1, 0]) if nobody else 0.0
    begins, ends = scores[:, len(nobody) :]
    found: dict[str, dict[str, Any]] = {}
    for first, last, score in _spans(begins, ends, wanted):
        start, end = _characters(source, int(own[first]), int(own[last]), whole_words=wanted.whole_words)
        _add(found, {"score": score, "start": start, "end": end, "answer": context[start:end]})
    return _Window(encoded.text.field, list(found.values()), none)


def _spans(begins: FloatArray, ends: FloatArray, wanted: _Wanted) -> Iterable[tuple[int, int, float]]:
    """The best ones, best first: first token, last token, score. Some more than wanted, where several may be the same words."""
    width = min(wanted.tokens, len(begins))
    if not width:
        return
    later = sliding_window_view(
        np.pad(ends, (0, width - 1)), width
    )  # [n, width]: the ends that each may have
    scores = (begins[:, None] * later).ravel()
    most = 2 * wanted.answers + 10 if wanted.whole_words else wanted.answers
    places = np.arange(len(scores)) if len(scores) <= most else np.argpartition(-scores, most)[:most]
    for place in places[np.argsort(-scores[places], kind="stable")].tolist():
        if scores[place] > 0:
            first, more = divmod(place, width)
            yield first, first + more, float(scores[place])


def _characters(source: Source, first: int, last: int, *, whole_words: bool) -> tuple[int, int]:
    """Where a span of tokens begins and ends in the context."""
    if whole_words and source.words[first] is not None and source.words[last] is not None:
        first, last = _end_of_word(source, first, -1), _end_of_word(source, last, 1)
    return source.offsets[first][0], source.offsets[last][1]


def _end_of_word(source: Source, place: int, step: int) -> int:
    """The last token of the same word in that direction, as far as the window goes."""
    words, owners = source.words, source.owners
    while 0 <= place + step < len(words) and (words[place + step], owners[place + step]) == (words[place], 1):
        place += step
    return place


def _add(found: dict[str, dict[str, Any]], answer: dict[str, Any]) -> None:
    """The same words, whatever their case, are one answer: the first of them, surer by the others."""
    known = found.setdefault(answer["answer"].lower(), answer)
    if known is not answer:
        known["score"] += answer["score"]


def _best(windows: list[_Window], wanted: _Wanted) -> Any:
    """The answers to one question from all its windows; an object when it is one."""
    found: dict[str, dict[str, Any]] = {}
    for window in windows:
        for answer in window.answers:
            _add(found, answer)
    answers = list(found.values())
    if wanted.or_none or not answers:
        none = min(window.none for window in windows) if wanted.or_none else 0.0
        answers.append({"score": none, "start": 0, "end": 0, "answer": ""})
    answers.sort(key=lambda answer: answer["score"], reverse=True)
    return answers[0] if wanted.answers == 1 or len(answers) == 1 else answers[: wanted.answers]
