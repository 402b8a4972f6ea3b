"""Texts to token ids: the tokenizer of a model folder, clipped or refused at a length.

Used by `app` (on the loop for short texts, in a thread for long ones) and by tasks, which need words and offsets.
Holds no state per request, so any number of threads may use it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from inlet.core.errors import Invalid, Refused, TooLarge
from inlet.runtime.build.config import read_json
from inlet.runtime.engines.base import IntArray

MAX_TOKENS = 1_000_000  # in one request; each takes some 100 bytes, of windows also those that overlap
_LONG_CHARACTERS = (
    2_000  # tokenized without holding the interpreter, which costs a short text more than it gains
)
_SHARED = 128  # tokens of a context that neighbouring windows share, as the reference has it
_NO_LIMIT = 1_000_000  # larger model_max_length values are placeholders for "not known"


@dataclass(frozen=True, slots=True)
class Text:
    """One text, or a pair of texts, and where in the request it stood."""

    text: str
    field: str
    pair: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """What happens at how many tokens: `clip` from `side` ("left" or "right"), or refuse.

    Of a pair the longer text gives way, unless `first_only`.
    """

    tokens: int
    clip: bool
    side: str = "right"
    first_only: bool = False


class Source(NamedTuple):
    """Where a text's tokens stand in it; not the tokenizer's own object, which keeps all that was clipped.

    `owners`: 0 or 1 for the texts of a pair, None for special tokens. `words`: which word of it a token belongs to.
    """

    tokens: list[str]
    offsets: list[tuple[int, int]]
    special_tokens_mask: list[int]
    owners: list[int | None]
    words: list[int | None]


class Mask(NamedTuple):
    """The token that stands for a word to be found."""

    token: str
    id: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as the engine takes it; `source` only where it was asked for."""

    text: Text
    ids: IntArray
    token_types: IntArray
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Texts:
    """The tokenizer of one model. `max_length`: tokens that the model was made for, special ones included."""

    def __init__(
        self, tokenizer: Tokenizer, *, max_length: int, lower_case: bool = False, mask: Mask | None = None
    ) -> None:
        self.max_length = max_length
        self.mask = mask
        self._tokenizer = tokenizer
        self._lower_case = lower_case
        model: Any = tokenizer.model
        self.subword_prefix: str = getattr(model, "continuing_subword_prefix", None) or ""
        self.unknown_token: str | None = getattr(model, "unk_token", None)

    @classmethod
    def open(cls, folder: Path, *, positions: int, vocabulary: int) -> Texts:
        """Read `tokenizer.json`; `positions` bounds the length, `vocabulary` the ids."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise Refused(
                "the model has no tokenizer.json: save it with "
                "`AutoTokenizer.from_pretrained(model).save_pretrained(folder)` and upload it"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the bindings raise a bare Exception
            raise Refused(f"tokenizer.json cannot be read: {error}") from error
        # What a file carries over from training is not what was asked for now.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if tokenizer.get_vocab_size() > vocabulary:
            raise Refused(
                f"tokenizer.json has {tokenizer.get_vocab_size()} tokens, the model only {vocabulary}: "
                "they do not belong together"
            )
        settings_file = folder / "tokenizer_config.json"
        settings = read_json(settings_file) if settings_file.is_file() else {}
        given = settings.get("model_max_length")
        own = int(given) if isinstance(given, int | float) and 0 < given < _NO_LIMIT else positions
        return cls(tokenizer, max_length=min(own, positions), mask=_mask(tokenizer, settings))

    def shortened(self, max_length: int | None, *, lower_case: bool) -> Texts:
        """The same tokenizer for texts of at most `max_length` tokens."""
        length = self.max_length if max_length is None else min(max_length, self.max_length)
        return Texts(self._tokenizer, max_length=length, lower_case=lower_case, mask=self.mask)

    @property
    def room(self) -> int:
        """Tokens of a single text that fit beside the special ones."""
        return self.max_length - self._specials(pair=False)

    def encode(self, texts: Sequence[Text], limit: Limit, *, sources: bool = False) -> list[Encoded]:
        """Token ids of each text; `Invalid` names the text that is too long and may not be clipped."""
        found, total = [], 0
        for text in texts:
            found.append(self._encode(text, limit, sources=sources))
            total += len(found[-1])
            if total > MAX_TOKENS:
                raise TooLarge(
                    f"the texts up to here have more than {MAX_TOKENS} tokens; send them in several requests",
                    field=text.field,
                )
        return found

    def windows(self, texts: Sequence[Text], stride: int) -> list[Encoded]:
        """Each text in as many windows as it needs; neighbouring ones share `stride` tokens."""
        found, total = [], 0
        for text in texts:
            whole = self._tokenize(self._cased(text.text), specials=False)
            total += (1 + max(0, len(whole) - self.room) // (self.room - stride)) * self.max_length
            if total > MAX_TOKENS:
                raise TooLarge(
                    f"windows that share {stride} tokens have more than {MAX_TOKENS} in all; share fewer, or send "
                    "less text in one request",
                    field="parameters.stride",
                )
            whole.truncate(self.room, stride=stride)
            first = self._tokenizer.post_process(whole)
            found += [_encoded(text, window, sources=True) for window in (first, *first.overflowing)]
        return found

    def answer_windows(
        self, texts: Sequence[Text], *, tokens: int, stride: int | None, question: int | None
    ) -> list[Encoded]:
        """Pairs of a question and a context, in as many windows of at most `tokens` as the context needs.

        The question stands in each window, clipped at `question` tokens; neighbouring windows share `stride` tokens of
        the context, or as many as the reference has it. `Invalid` when the question leaves no room.
        """
        found, total = [], 0
        for text in texts:
            asked = self._tokenize(text.text, specials=False)
            if question is not None and len(asked) > question:
                asked = self._tokenize(text.text[: asked.offsets[question - 1][1]], specials=False)
            room = tokens - self._specials(pair=True) - len(asked)
            if room < 1:
                raise Invalid(
                    f"{len(asked)} tokens leave no room for the context in a window of {tokens}; shorten it, or clip "
                    "it with parameters.max_question_len",
                    field=text.field,
                )
            usual = min(_SHARED, tokens // 2)
            shared = stride if stride is not None else usual if usual < room else room // 2
            if shared >= room:
                raise Invalid(
                    f"must be less than {room}, the tokens of the context in a window",
                    field="parameters.doc_stride",
                )
            context = self._tokenize(text.pair or "", specials=False)
            total += (1 + max(0, len(context) - room) // (room - shared)) * tokens
            if total > MAX_TOKENS:
                raise TooLarge(
                    f"the windows up to here have more than {MAX_TOKENS} tokens; share fewer (parameters.doc_stride), or "
                    "send less text in one request",
                    field=text.field,
                )
            context.truncate(room, stride=shared)
            first = self._tokenizer.post_process(asked, context)
            windows = [_encoded(text, window, sources=True) for window in (first, *first.overflowing)]
            # The tokenizer says only in the first one which tokens are those of a second text.
            for window in windows:
                window.token_types[_of_second(window)] = (
                    windows[0].token_types[_of_second(windows[0])].max(initial=0)
                )
            found += windows
        return found

    def word(self, text: str) -> int | None:
        """The id of that token of the vocabulary, else of the first token of the text; None when it has none."""
        known = self._tokenizer.token_to_id(text)
        if known is not None:
            return known
        return next(iter(self._tokenize(text, specials=False).ids), None)

    def decode(self, ids: IntArray, *, specials: bool) -> str:
        """The text of these tokens, with or without special ones."""
        return self._tokenizer.decode(ids.tolist(), skip_special_tokens=not specials)

    def names(self, count: int) -> list[str]:
        """The vocabulary's first `count` tokens by id; empty where the tokenizer has none."""
        return [self._tokenizer.id_to_token(number) or "" for number in range(count)]

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens to the text that they stand for."""
        decoder = self._tokenizer.decoder
        return str(decoder.decode(list(tokens))) if decoder is not None else " ".join(tokens)

    def _encode(self, text: Text, limit: Limit, *, sources: bool) -> Encoded:
        first = self._cased(text.text)
        encoding = self._tokenize(first, None if text.pair is None else self._cased(text.pair))
        if len(encoding) <= limit.tokens:
            return _encoded(text, encoding, sources=sources)
        if not limit.clip:
            raise Invalid(
                f"{len(encoding)} tokens, more than the {limit.tokens} that this model takes; "
                'shorten it, or clip it with "parameters": {"truncation": true}',
                field=text.field,
            )
        kept = _kept(encoding, limit)
        if limit.first_only and 0 not in (encoding.sequence_ids[place] for place in kept):
            raise Invalid(
                f"what it is paired with leaves none of the {limit.tokens} tokens for it; shorten that",
                field=text.field,
            )
        return _encoded(text, encoding, sources=sources, kept=kept)

    def _tokenize(self, text: str, pair: str | None = None, *, specials: bool = True) -> Encoding:
        if len(text) + len(pair or "") <= _LONG_CHARACTERS:
            return self._tokenizer.encode(text, pair, add_special_tokens=specials)
        # `encode` holds the interpreter for up to a second, in a thread too; `encode_batch` does not.
        item = text if pair is None else (text, pair)
        return self._tokenizer.encode_batch([item], add_special_tokens=specials)[0]

    def _cased(self, text: str) -> str:
        return text.lower() if self._lower_case else text

    def _specials(self, *, pair: bool) -> int:
        return int(self._tokenizer.num_special_tokens_to_add(pair))


def _of_second(item: Encoded) -> npt.NDArray[np.bool_]:
    """Which tokens are of a pair's second text; it was encoded with its source."""
    assert item.source is not None  # noqa: S101 - its only caller sees to that
    return np.array([owner == 1 for owner in item.source.owners])


def _mask(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> Mask | None:
    """As the tokenizer's settings name it, plainly or with how it is matched."""
    given = settings.get("mask_token")
    token = given.get("content") if isinstance(given, Mapping) else given
    number = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return None if number is None else Mask(str(token), number)


def _kept(encoding: Encoding, limit: Limit) -> IntArray:
    """The positions that stay: all special tokens, and of a pair what the limit says ("longest first" is the usual).

    Not `Encoding.truncate`: it keeps what it cuts off as windows, and of a pair every combination of them.
    """
    owners = np.array([-1 if owner is None else owner for owner in encoding.sequence_ids], dtype=np.int64)
    special, *both = (np.flatnonzero(owners == owner) for owner in (-1, 0, 1))
    room = max(limit.tokens - len(special), 0)
    short, long = reversed(both) if limit.first_only else sorted(both, key=len)
    share = min(len(short), room if limit.first_only else room // 2)
    ends = [
        places[:most] if limit.side == "right" else places[len(places) - most :]
        for places, most in ((short, share), (long, min(len(long), room - share)))
    ]
    return np.sort(np.concatenate((special, *ends)))


def _encoded(text: Text, encoding: Encoding, *, sources: bool, kept: IntArray | None = None) -> Encoded:
    if not len(encoding):
        raise Invalid("nothing of it is left as tokens", field=text.field)
    ids, types = (np.array(values, dtype=np.int64) for values in (encoding.ids, encoding.type_ids))
    source = None
    if sources:
        source = Source(
            encoding.tokens,
            encoding.offsets,
            encoding.special_tokens_mask,
            encoding.sequence_ids,
            encoding.word_ids,
        )
    if kept is not None:
        ids, types = ids[kept], types[kept]
        source = source and Source(*([values[place] for place in kept] for values in source))
    return Encoded(text, ids, types, source)
