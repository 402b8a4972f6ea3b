"""summarization, translation and text2text-generation: encoder-decoder models with `generate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.generating import arguments, without_stop
from inlet.runtime.pipelines.child.source import Answerer, Source

_NOT_KNOWN = 1_000_000  # larger limits of tokenizers are placeholders


def sequence_to_sequence(source: Source) -> Answerer:
    """Texts to texts."""
    model = source.read(transformers.AutoModelForSeq2SeqLM)
    tokenizer = source.part(transformers.AutoTokenizer)
    prefix = _prefix(model.config, source.task)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        return [
            _one(model, tokenizer, prefix + item, f"inputs[{index}]", parameters)
            for index, item in enumerate(items)
        ]

    return answer


def _one(model: Any, tokenizer: Any, text: str, field: str, parameters: Mapping[str, Any]) -> list[str]:
    languages = {name: parameters[name] for name in ("src_lang", "tgt_lang") if name in parameters}
    encoded, forced = _encoded(tokenizer, text, languages)
    encoded = _bounded(encoded, model, tokenizer, field, parameters)
    decoder = getattr(model.config, "max_position_embeddings", None)
    given = arguments(model, parameters, tokenizer=tokenizer, prompt=0, room=decoder and decoder - 2)
    with torch.inference_mode():
        made = model.generate(**encoded, **forced, **given)
    texts = tokenizer.batch_decode(
        made,
        skip_special_tokens=True,
        clean_up_tokenization_spaces=parameters.get("clean_up_tokenization_spaces", False),
    )
    return [without_stop(text, parameters.get("stop", []))[0] for text in texts]


def _prefix(config: Any, task: str) -> str:
    """What the model was trained to see before a text, as its configuration says for the task."""
    specific = (getattr(config, "task_specific_params", None) or {}).get(task) or {}
    return str(specific.get("prefix") or getattr(config, "prefix", None) or "")


def _encoded(tokenizer: Any, text: str, languages: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """Tokens, and the first one to generate where the target language is one."""
    if not languages:
        return tokenizer(text, return_tensors="pt"), {}
    codes = _codes(tokenizer)
    if codes is None:
        name = min(languages)
        raise BadInput("this model translates one pair of languages; leave it out", f"parameters.{name}")
    for name, language in languages.items():
        if language not in codes:
            shown = ", ".join(sorted(codes)[:10])
            raise BadInput(f"the model does not know {language!r}; it knows {shown}, …", f"parameters.{name}")
    target = languages.get("tgt_lang")
    forced = {} if target is None else {"forced_bos_token_id": codes[target]}
    own = tokenizer.src_lang
    tokenizer.src_lang = languages.get("src_lang", own)
    try:
        return tokenizer(text, return_tensors="pt"), forced
    finally:
        tokenizer.src_lang = own  # the next request's, unless it says another


def _codes(tokenizer: Any) -> Mapping[str, int] | None:
    """Languages by the token that each begins with; None for a tokenizer that has none."""
    for name in ("lang_code_to_id", "lang_code_to_token"):
        if found := getattr(tokenizer, name, None):
            return {
                code: token if isinstance(token, int) else tokenizer.convert_tokens_to_ids(token)
                for code, token in found.items()
            }
    if not hasattr(tokenizer, "set_src_lang_special_tokens"):
        return None
    return {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.extra_special_tokens}


def _bounded(encoded: Any, model: Any, tokenizer: Any, field: str, parameters: Mapping[str, Any]) -> Any:
    positions = getattr(model.config, "max_position_embeddings", None)
    longest = min(tokenizer.model_max_length, positions or _NOT_KNOWN)
    length = encoded["input_ids"].shape[1]
    if not length:
        raise BadInput("nothing of it is left as tokens", field)
    if length <= longest or longest >= _NOT_KNOWN:
        return encoded
    if not parameters.get("truncation"):
        raise BadInput(
            f'{length} tokens, more than the {longest} that this model takes; shorten it, or clip it with "truncation": true',
            field,
        )
    # Keeps the last token, which ends a text.
    return {name: torch.cat((ids[:, : longest - 1], ids[:, -1:]), dim=1) for name, ids in encoded.items()}
