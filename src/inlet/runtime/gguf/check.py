"""Has llama.cpp open a GGUF file and split texts, and compares with the tokenizer that the file was made of. Called by `__main__`.

The gate before a file may serve: a vocabulary that is described wrongly answers fluently and badly, and nobody would see why.
It also shows that llama.cpp can open the file at all.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import zip_longest
from pathlib import Path

import httpx
from tokenizers import Tokenizer

from inlet.core.errors import Refused
from inlet.runtime.gguf.vocabulary import read_tokenizer
from inlet.runtime.scratch import Scratch

# Special tokens and others that are tried at most, and how many of these in one text.
_SPECIAL, _ORDINARY, _TOGETHER = 64, 1024, 32
# All composed (NFC): what tokenizers compose, llama.cpp leaves as it is.
_TEXTS = (
    "Hello, world! It's a test; they'll see, WE'RE sure I'VE had 'd and 'S.",
    "x", " ", "  two  three   four    spaces ", "\n", "\n\n\n", " \n \t\r\n  x\t\ty", "trailing space ",
    "0 12 345 6789 12345678901234567890 3.14159 1,000,000 ½ ² Ⅻ ٣٤٥",
    "def f(x: int) -> str:\n    return {'a': [1, 2]}[x] or f\"{x!r}\"  # comment\n\n\nif __name__ == '__main__':\n\tf(0)\n",
    '<div class="a b">&nbsp;</div> https://example.com/?q=a%20b&c=d#e user@example.com C:\\temp\\new',
    "camelCase snake_case SCREAMING_CASE kebab-case McDonald's iPhone15Pro",
    "Größe naïve café façade Übermut İstanbul ǅ ﬁ", "Привет, мир! Как дела?", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "你好，世界！今天天气很好。", "こんにちは世界、カタカナ", "안녕하세요 세계",
    "😀👍🏽👩‍👩‍👧‍👦🇩🇪 mixed 😀text ", "…—–“quotes”‘single’ • ™ © € £ ¥ → ≤ ∑ √ ∞", "a\u00a0b\u2003c\u200bd\u3000e\ufeff",
    "!!!??? ... --- *** ___ ((([[[{{{ }}}]]]))) @@##$$%%^^&&", "\u0007\u001b[0m\u007f", "▁underline ▁▁ and Ġ",
)  # fmt: skip


def check(folder: Path, file: Path) -> None:
    """`Refused` unless llama.cpp opens `file` and splits texts as the tokenizer in `folder` does."""
    tokenizer = read_tokenizer(folder)
    with closing(Scratch("gguf")) as scratch, _opened(file, scratch.path / "llama.sock") as llama:
        for text in (*_TEXTS, *_of_special_tokens(tokenizer), *_of_ordinary_tokens(tokenizer)):
            for special in (True, False):
                expected = tokenizer.encode(text, add_special_tokens=special).ids
                found = _split(llama, text, special=special)
                if found != expected:
                    raise Refused(
                        f"llama.cpp would split {text!r} into other tokens than the model's tokenizer ({_difference(expected, found)});"
                        " use a repository with a GGUF file of this model"
                    )


def _of_special_tokens(tokenizer: Tokenizer) -> Iterator[str]:
    """As templates of chats write them: at the start, before and after words, spaces and line breaks."""
    tokens = [str(token.content) for token in tokenizer.get_added_tokens_decoder().values()]
    for token in tokens[:: len(tokens) // _SPECIAL + 1]:
        yield f"{token}user\n{token} Hello{token}\n{token}{token}a {token} b"


def _of_ordinary_tokens(tokenizer: Tokenizer) -> Iterator[str]:
    """Words that this vocabulary has: some may only be found in one way of looking for them."""
    size = tokenizer.get_vocab_size()
    words = [tokenizer.decode([token]) for token in range(0, size, size // _ORDINARY + 1)]
    whole = [unicodedata.normalize("NFC", word) for word in words if "\N{REPLACEMENT CHARACTER}" not in word]
    for begin in range(0, len(whole), _TOGETHER):
        yield "\n".join(whole[begin : begin + _TOGETHER])


@contextmanager
def _opened(file: Path, socket: Path) -> Iterator[httpx.Client]:
    """llama.cpp with that file, on a socket. Nothing of the weights is read or copied before it is used."""
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(file)
    params.hostnames = [str(socket)]
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 64, 1, 1
    params.warmup, params.fit_params, params.no_extra_bufts = False, False, True
    params.verbosity = 0
    try:
        server = Server(params)
    except Exception as error:  # the library raises nothing narrower
        raise Refused(f"llama.cpp cannot open the file that was made of this model: {error}") from error
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://llama") as client:
            yield client
    finally:
        del server  # ends it


def _split(llama: httpx.Client, text: str, *, special: bool) -> list[int]:
    asked = {"content": text, "add_special": special, "parse_special": True}
    answer = llama.post("/tokenize", json=asked)
    answer.raise_for_status()
    return [int(token) for token in answer.json()["tokens"]]


def _difference(expected: Sequence[int], found: Sequence[int]) -> str:
    pairs = zip_longest(expected, found)
    place, (wanted, got) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
    return f"token {place} is {got} and should be {wanted}"
