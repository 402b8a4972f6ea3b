"""How texts are cut into words before merges are applied, by what llama.cpp calls it. Data only; read by `vocabulary`.

llama.cpp has these built in under names, so that a tokenizer's own expressions must be recognised. A wrong name would pass
unseen but for `check`, which has llama.cpp split texts. `tekken` (Mistral Nemo and later) is left out: llama.cpp splits texts with
combining marks, such as Hindi, in another way than the tokenizer does.
"""

from __future__ import annotations

from collections.abc import Mapping

Step = tuple[str, ...]
"""`split` and its expression, `digits`, or `bytes` and whether words are split as GPT-2 does."""

_GPT2: Step = ("bytes", "words")
_BYTES: Step = ("bytes",)
_LLAMA3: Step = (
    "split",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_QWEN2: Step = (
    "split",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
NAMES: Mapping[tuple[tuple[Step, ...], bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((("digits",), _GPT2), False): "smollm",
    ((_LLAMA3, _BYTES), True): "llama-bpe",
    ((_LLAMA3, _BYTES), False): "dbrx",
    ((_QWEN2, _BYTES), False): "qwen2",
}
"""By the steps, and whether words that are tokens are taken whole (`ignore_merges`)."""
