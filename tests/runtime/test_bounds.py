"""What one request may cost: no body, header or list holds up the event loop or takes memory without bound."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime import texts as texts_module
from inlet.runtime.body import UnsupportedMediaType, parse
from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.encoding import encodes_inline
from inlet.runtime.pooling import Pooling
from inlet.runtime.tasks import embeddings
from inlet.runtime.tasks.base import MAX_TEXTS, Work, read_texts
from inlet.runtime.texts import Limit, Text, Texts


def made(*, specials: bool = True, max_length: int = 10) -> Texts:
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "!": 4}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if specials:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return Texts(tokenizer, max_length=max_length)


@pytest.mark.parametrize(
    "content_type",
    [
        'application/json; charset="' + ";" * 30_000,
        "application/json; charset=punycode",
        "application/json; charset=idna",
    ],
)
def test_a_content_type_that_takes_quadratic_time_is_refused_at_once(content_type: str) -> None:
    begin = time.thread_time()
    with pytest.raises(UnsupportedMediaType):
        parse(b"-" + b"a9" * 60_000, {"content-type": content_type})
    assert time.thread_time() - begin < 0.1


WITHOUT_MEMORY = """
import resource
from pathlib import Path
from inlet.runtime.body import parse
body = b'{"inputs":"' + b"x" * 9_000_000 + b'"}'
held = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held * 1024 + 40_000_000,) * 2)
try:
    parse(body, {})
except MemoryError as error:
    print(error)
"""


def test_a_body_that_memory_does_not_suffice_for_is_not_the_callers_fault() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Not enough memory")


def test_a_list_of_too_many_texts_is_refused_by_name() -> None:
    assert len(read_texts([""] * MAX_TEXTS)[0]) == MAX_TEXTS
    with pytest.raises(TooLarge, match=r"^inputs\.sentences: .*10001"):
        read_texts([""] * (MAX_TEXTS + 1), field="inputs.sentences")


def test_many_short_texts_are_not_encoded_on_the_loop() -> None:
    def work(*texts: str) -> Work:
        nothing: Any = None
        return Work([Text(text, "inputs") for text in texts], nothing, nothing, nothing)

    assert encodes_inline(work("one short text"))
    assert not encodes_inline(work("long" * 1000))
    assert not encodes_inline(work(*[""] * 1000))


def test_tokens_of_all_texts_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_module, "MAX_TOKENS", 30)
    limit = Limit(10, clip=True)
    assert len(made().encode([Text("a " * 50, f"inputs[{i}]") for i in range(3)], limit)) == 3
    with pytest.raises(TooLarge, match=r"^inputs\[3\]: "):
        made().encode([Text("a " * 50, f"inputs[{i}]") for i in range(4)], limit)


def test_overlapping_windows_are_bounded_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_module, "MAX_TOKENS", 100)
    assert len(made().windows([Text("a " * 48, "inputs")], 0)) == 6
    with pytest.raises(TooLarge, match=r"^parameters\.stride: "):
        made().windows([Text("a " * 48, "inputs")], 7)


def test_the_numbers_of_token_vectors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MAX_NUMBERS", 2 * 10 * 4)
    model: Any = SimpleNamespace(texts=made(), pooling=Pooling(), shape=SimpleNamespace(hidden=4))
    task = embeddings.FeatureExtraction(model)
    assert len(task.plan(Request(["a " * 20] * 2, {}, Dialect.TOOLKIT)).encode()) == 2
    with pytest.raises(TooLarge, match=r"^inputs: "):
        task.plan(Request(["a " * 20] * 3, {}, Dialect.TOOLKIT)).encode()


def test_a_text_without_a_single_token_is_refused_by_name() -> None:
    assert len(made().encode([Text("", "inputs")], Limit(10, clip=False))[0]) == 2
    for find in (lambda it: it.encode([Text("", "inputs[0]")], Limit(10, clip=False)),
                 lambda it: it.windows([Text(" ", "inputs[0]")], 1)):  # fmt: skip
        with pytest.raises(Invalid, match=r"^inputs\[0\]: "):
            find(made(specials=False))


def longest_silence_while_tokenizing() -> float:
    """The longest time another thread did not get to run, as a share of the time that a long text takes."""
    texts, longest, over = made(), [0.0], threading.Event()

    def beat() -> None:
        last = time.perf_counter()
        while not over.wait(0.001):
            now = time.perf_counter()
            longest[0], last = max(longest[0], now - last), now

    thread = threading.Thread(target=beat)
    thread.start()
    begin = time.perf_counter()
    texts.encode([Text("a! " * 200_000, "inputs")], Limit(10, clip=True))
    took = time.perf_counter() - begin
    over.set()
    thread.join()
    return longest[0] / took


def test_tokenizing_a_long_text_leaves_the_interpreter_to_the_loop() -> None:
    # Held all the time it would be near 1 in every try; a busy machine spoils some, not all.
    assert any(longest_silence_while_tokenizing() < 1 / 4 for _ in range(20))


def test_clipped_long_texts_are_the_same_as_short_ones_clipped() -> None:
    for pair in (None, "! a "):
        short, long = (
            made().encode([Text("a ! " * n, "inputs", pair and pair * n)], Limit(9, clip=True))[0]
            for n in (10, 5000)
        )
        assert short.ids.tolist() == long.ids.tolist()
        assert short.token_types.tolist() == long.token_types.tolist()
