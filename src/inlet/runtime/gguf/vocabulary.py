"""Reads `tokenizer.json` into what llama.cpp must know to split texts the same way. Called by `__main__`.

Two kinds: BPE on bytes (GPT-2 and most models since), and BPE on characters as sentencepiece does it (Llama 2, Mistral, Gemma).
Whatever else a tokenizer does is refused here, and what escapes that is found by `check`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer

from inlet.core.errors import Refused
from inlet.runtime.build.config import read_json
from inlet.runtime.gguf.pretokenizers import NAMES, Step

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what sentencepiece writes for a space
_REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
# Whatever else is special, whitespace after it belongs to it, if llama.cpp is told that it is a Phi-3; it asks for these.
_PHI3 = {"</s>", "<unk>", "<s>", "<|endoftext|>"}
_PREPENDED = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": _SPACE}, _REPLACED]}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`tokens` and `types` by id, `merges` or `scores` by the kind; `first` and `last`: what a text is put between.

    `strips_after_special`: whitespace after a special token belongs to it.
    """

    model: str
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str] | None
    scores: Sequence[float] | None
    space_prefix: bool
    strips_after_special: bool
    first: int | None
    last: int | None


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer as it came, but that it never shortens or fills a text up."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise Refused(
            "the model has no tokenizer.json: make it with `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"tokenizer.json cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """The vocabulary for a model with `rows` embeddings."""
    tokenizer = read_tokenizer(folder)
    described = read_json(folder / "tokenizer.json")
    model, added = described["model"], described.get("added_tokens") or []
    if model.get("type") != "BPE":
        raise Refused(f"the tokenizer is of type {model.get('type')}; a GGUF file can have BPE only")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise Refused(
                f"tokenizer.json: the model has {option}={model[option]!r}, which llama.cpp does not know"
            )
    sentencepiece = bool(model.get("byte_fallback"))
    tokens = _tokens(tokenizer, rows)
    first, last = _surroundings(tokenizer)
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        pre="default" if sentencepiece else _pre_tokenizer(described),
        tokens=tokens,
        types=_types(tokens, tokenizer, added, model.get("unk_token"), sentencepiece=sentencepiece),
        merges=None if sentencepiece else [" ".join(pair) for pair in _merges(model)],
        scores=_scores(tokens, model) if sentencepiece else None,
        space_prefix=sentencepiece and _space_prefix(described),
        strips_after_special=_strips_after_special(added, tokens),
        first=first,
        last=last,
    )


def _tokens(tokenizer: Tokenizer, rows: int) -> list[str]:
    by_id = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    if by_id and max(by_id) >= rows:
        raise Refused(f"the tokenizer has a token {max(by_id)}, and config.json says that there are {rows}")
    return [by_id.get(index, f"[PAD{index}]") for index in range(rows)]


def _types(
    tokens: Sequence[str],
    tokenizer: Tokenizer,
    added: Sequence[Mapping[str, Any]],
    unknown: str | None,
    *,
    sentencepiece: bool,
) -> list[int]:
    types = [
        TokenType.NORMAL if tokenizer.token_to_id(token) == index else TokenType.UNUSED
        for index, token in enumerate(tokens)
    ]
    if sentencepiece:
        for byte in range(256):
            index = tokenizer.token_to_id(f"<0x{byte:02X}>")
            if index is None:
                raise Refused(
                    f"tokenizer.json has no token for the byte {byte}, though it says so (byte_fallback)"
                )
            types[index] = TokenType.BYTE
    for token in added:
        types[token["id"]] = TokenType.CONTROL if token.get("special") else TokenType.USER_DEFINED
    if sentencepiece and unknown in tokens:
        types[tokens.index(unknown)] = TokenType.UNKNOWN
    return [int(kind) for kind in types]


def _strips_after_special(added: Sequence[Mapping[str, Any]], tokens: Sequence[str]) -> bool:
    strips = any(token.get("rstrip") for token in added)
    if strips and not _PHI3.issubset(tokens):
        raise Refused(
            "tokenizer.json has tokens that take the spaces after them (rstrip), which llama.cpp does for Phi-3 only"
        )
    return strips


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs, the earliest first. Old files have them as one string."""
    found = []
    for merge in model["merges"]:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if len(pair) != 2 or any(" " in part for part in pair):
            raise Refused(f"tokenizer.json has a merge {merge!r}, which a GGUF file cannot hold")
        found.append((pair[0], pair[1]))
    return found


def _scores(tokens: Sequence[str], model: Mapping[str, Any]) -> list[float]:
    """The higher, the earlier two parts become that token. sentencepiece joins whatever makes a token, so all ways must be
    in the merges, and in the order of what they make.
    """
    vocabulary, merges = model["vocab"], _merges(model)
    ranks: dict[str, int] = {}
    previous, pairs = None, set(merges)
    for left, right in merges:
        made = left + right
        if made != previous and made in ranks:
            raise Refused("the merges of tokenizer.json are not in an order that llama.cpp can follow")
        ranks.setdefault(made, len(ranks))
        previous = made
    for made in ranks:
        for cut in range(1, len(made)):
            left, right = made[:cut], made[cut:]
            if left in vocabulary and right in vocabulary and (left, right) not in pairs:
                raise Refused(
                    f"tokenizer.json does not merge {left!r} and {right!r} to a token, which llama.cpp would do"
                )
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _space_prefix(described: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text; refused if that, or where spaces go, is something that llama.cpp does not know."""
    normalizer, pre_tokenizer = described.get("normalizer"), described.get("pre_tokenizer")
    if normalizer == _PREPENDED and pre_tokenizer is None:
        return True
    if normalizer == _REPLACED and (pre_tokenizer is None or _splits_spaces(pre_tokenizer)):
        return False
    if normalizer is None and pre_tokenizer is not None and pre_tokenizer.get("type") == "Metaspace":
        scheme = pre_tokenizer.get("prepend_scheme")
        if (
            scheme == "never"
            and pre_tokenizer.get("split") is False
            and pre_tokenizer.get("replacement") == _SPACE
        ):
            return False
        raise Refused(
            f"tokenizer.json puts a space before a text as {scheme!r}, which llama.cpp cannot do; use a repository with a "
            "GGUF file of this model"
        )
    raise Refused("tokenizer.json replaces spaces in a way that llama.cpp does not know")


def _splits_spaces(pre_tokenizer: Mapping[str, Any]) -> bool:
    """At spaces, of which none are left: Gemma's does."""
    return pre_tokenizer.get("type") == "Split" and pre_tokenizer.get("pattern") == {"String": " "}


def _pre_tokenizer(described: Mapping[str, Any]) -> str:
    # Composing characters (NFC) is let pass: llama.cpp does not do it, and nearly all text is composed as it comes.
    if described.get("normalizer") not in (None, {"type": "NFC"}):
        raise Refused(
            f"tokenizer.json normalises texts ({described['normalizer'].get('type')}), which llama.cpp does not do"
        )
    given = described.get("pre_tokenizer") or {}
    parts = given.get("pretokenizers", []) if given.get("type") == "Sequence" else [given]
    steps = tuple(_step(part) for part in parts)
    name = NAMES.get((steps, described["model"].get("ignore_merges") is True))
    if name is None:
        raise Refused(
            f"tokenizer.json splits texts in a way for which llama.cpp has no name that is known here: {steps!r}; use a "
            "repository with a GGUF file of this model"
        )
    return name


def _step(part: Mapping[str, Any]) -> Step:
    kind = part.get("type")
    if kind == "Split" and part.get("behavior") == "Isolated" and part.get("invert") is False:
        return ("split", str((part.get("pattern") or {}).get("Regex")))
    if kind == "Digits" and part.get("individual_digits") is True:
        return ("digits",)
    if kind == "ByteLevel" and part.get("add_prefix_space") is False:
        return ("bytes", "words") if part.get("use_regex", True) else ("bytes",)
    return ("unknown", str(kind))


def _surroundings(tokenizer: Tokenizer) -> tuple[int | None, int | None]:
    """The special tokens that the tokenizer puts before and after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    for before in range(len(whole) - len(bare) + 1):
        after = len(whole) - len(bare) - before
        if whole[before : before + len(bare)] == bare and max(before, after) <= 1:
            return whole[0] if before else None, whole[-1] if after else None
    raise Refused("the tokenizer puts more than one token before or after a text, which llama.cpp cannot do")
