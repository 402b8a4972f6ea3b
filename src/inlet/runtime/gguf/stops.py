"""Reads which special tokens begin and end an answer, and how a chat is written as text. Called by `__main__`.

From generation_config.json, tokenizer_config.json, config.json and chat_template.jinja, as transformers uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inlet.core.errors import Refused
from inlet.runtime.build.config import read_json
from inlet.runtime.gguf.vocabulary import Vocabulary

# What llama.cpp lets end an answer; the first is also what a tokenizer puts after a text.
_ENDS = ("eos", "eot", "eom")


@dataclass(frozen=True, slots=True)
class Stops:
    """`tokens` by llama.cpp's name (bos, eos, eot, eom, padding, unknown); `chat_template` one, several with names, or none."""

    tokens: Mapping[str, int]
    chat_template: str | Sequence[Mapping[str, str]] | None


def read_stops(folder: Path, vocabulary: Vocabulary, config: Mapping[str, Any]) -> Stops:
    """The tokens and the template. `Refused` when llama.cpp could not tell all of them apart."""
    named = _optional(folder / "tokenizer_config.json")
    generation = _optional(folder / "generation_config.json")
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}

    def by_name(name: str) -> int | None:
        given = named.get(f"{name}_token")
        content = given.get("content") if isinstance(given, Mapping) else given
        return ids.get(content) if isinstance(content, str) else None

    ends = _ids(generation.get("eos_token_id")) or _ids(config.get("eos_token_id"))
    own = by_name("eos") if vocabulary.last is None else vocabulary.last
    if own is not None:
        ends = [own, *(token for token in ends if token != own)]
    if not ends:
        raise Refused("nothing says which token ends an answer: set eos_token_id in generation_config.json")
    if len(ends) > len(_ENDS):
        raise Refused(
            f"generation_config.json has {len(ends)} tokens that end an answer (eos_token_id), and a GGUF file holds {len(_ENDS)}"
        )
    tokens = dict(zip(_ENDS, ends, strict=False))
    firsts = (vocabulary.first, by_name("bos"), *_ids(config.get("bos_token_id")))
    others = {
        "bos": next((token for token in firsts if token is not None), None),
        "padding": by_name("pad"),
        "unknown": by_name("unk"),
    }
    tokens |= {name: token for name, token in others.items() if token is not None}
    if max(tokens.values()) >= len(vocabulary.tokens):
        raise Refused(
            f"a special token has the number {max(tokens.values())}, and there are {len(vocabulary.tokens)} tokens"
        )
    return Stops(tokens, _chat_template(folder, named))


def _chat_template(folder: Path, named: Mapping[str, Any]) -> str | Sequence[Mapping[str, str]] | None:
    path = folder / "chat_template.jinja"
    try:
        template: Any = path.read_text(encoding="utf-8") if path.is_file() else named.get("chat_template")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path.name} cannot be read; download it again") from error
    several = isinstance(template, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("template"), str)
        for item in template
    )
    if template is None or isinstance(template, str) or several:
        return template or None
    raise Refused("tokenizer_config.json: chat_template must be a text, or a list of texts with names")


def _optional(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


def _ids(given: Any) -> list[int]:
    values = given if isinstance(given, list) else [given]
    return list(dict.fromkeys(value for value in values if isinstance(value, int) and value >= 0))
