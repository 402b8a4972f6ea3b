"""The model that everything serves: a text classifier of RoBERTa-base's shape with random weights, made on this machine.

Made by `prepare` (with the last layer that `head` fitted) and `many`. Good for speed and for comparing answers, never for quality: it
has learned nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from inlet.runtime.engines.base import FloatArray

LABELS = ("no", "yes")
LAYERS, HIDDEN, HEADS, INTERMEDIATE = 12, 768, 12, 3072
LONGEST = 512  # tokens, the two special ones included
SPECIALS = 2
_VOCABULARY, _PAD = 50265, 1
_POSITIONS = LONGEST + _PAD + 1  # RoBERTa counts positions from the padding's id on
_SPREAD = 0.02  # of the weights; what such models are initialised with
_LAST = "classifier.out_proj"
_SYLLABLES = [
    first + second for first in "bcdfglmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "is")
]


def make(folder: Path, last: tuple[FloatArray, FloatArray] | None = None) -> None:
    """Write the model folder; it appears whole or not at all. `last`: weights and biases of the last layer, else random ones."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tokenizer().save(str(unfinished / "tokenizer.json"))
    for name, content in (("config.json", _config()), ("tokenizer_config.json", _tokenizer_config())):
        (unfinished / name).write_text(json.dumps(content, indent=1))
    _write_safetensors(unfinished / "model.safetensors", dict(_tensors()) | _last(last))
    unfinished.rename(folder)


def words() -> list[str]:
    """The words that texts are made of, the most frequent first."""
    rng = np.random.default_rng(11)
    found: dict[str, None] = {}
    while len(found) < 4000:
        chosen = rng.integers(len(_SYLLABLES), size=rng.integers(1, 5))
        found["".join(_SYLLABLES[number] for number in chosen)] = None
    return list(found)


def tokenizer() -> Tokenizer:
    """A byte-level BPE as RoBERTa's, trained on the words."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((f"{word} {word}" for word in words()), trainer)
    made.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return made


def _config() -> dict[str, Any]:
    return {
        "architectures": ["RobertaForSequenceClassification"],
        "model_type": "roberta",
        "vocab_size": _VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": _POSITIONS,
        "type_vocab_size": 1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "pad_token_id": _PAD,
        "eos_token_id": 2,
        "torch_dtype": "float32",
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
    }


def _tokenizer_config() -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": LONGEST,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }


def _tensors() -> Iterator[tuple[str, FloatArray]]:
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> FloatArray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(_SPREAD)

    def linear(name: str, out: int, into: int) -> Iterator[tuple[str, FloatArray]]:
        yield f"{name}.weight", drawn(out, into)
        yield f"{name}.bias", np.zeros(out, np.float32)

    def norm(name: str) -> Iterator[tuple[str, FloatArray]]:
        yield f"{name}.weight", np.ones(HIDDEN, np.float32)
        yield f"{name}.bias", np.zeros(HIDDEN, np.float32)

    for name, rows in (("word", _VOCABULARY), ("position", _POSITIONS), ("token_type", 1)):
        yield f"roberta.embeddings.{name}_embeddings.weight", drawn(rows, HIDDEN)
    yield from norm("roberta.embeddings.LayerNorm")
    for layer in (f"roberta.encoder.layer.{number}" for number in range(LAYERS)):
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        yield from linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        yield from norm(f"{layer}.attention.output.LayerNorm")
        yield from linear(f"{layer}.intermediate.dense", INTERMEDIATE, HIDDEN)
        yield from linear(f"{layer}.output.dense", HIDDEN, INTERMEDIATE)
        yield from norm(f"{layer}.output.LayerNorm")
    yield from linear("classifier.dense", HIDDEN, HIDDEN)
    yield from linear(_LAST, len(LABELS), HIDDEN)


def _last(given: tuple[FloatArray, FloatArray] | None) -> dict[str, FloatArray]:
    return {} if given is None else {f"{_LAST}.weight": given[0], f"{_LAST}.bias": given[1]}


def _write_safetensors(path: Path, tensors: dict[str, FloatArray]) -> None:
    header, offset = {}, 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)  # the format wants the numbers aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.tobytes())
