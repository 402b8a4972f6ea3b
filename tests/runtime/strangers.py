"""Models of kinds that the builder does not know: made, opened as a replica opens them, and asked beside transformers.

    python -m tests.runtime.strangers FOLDER

Runs where torch, transformers and ONNX Runtime are installed (`tests.reference.python()`), outside the project's own environment. Leaves the
models in `FOLDER/<name>`, and in `FOLDER/results.json` for each what opened it and both answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (11, 3, 8)  # tokens of the texts in the batch that is asked, which is filled up to
SIZE = 16
_SIZES = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 72, "pad_token_id": 0,
}  # fmt: skip
_GROUPS = dict.fromkeys(("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups"), 1)
_SPECIALS = {"cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
# By name: kind, head, and what its configuration has besides.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "squeezebert": ("squeezebert", "sequence", {"embedding_size": 32, **_GROUPS}),
    "convbert": ("convbert", "hidden", {"embedding_size": 16}),
    "modernbert": ("modernbert", "token", {"num_hidden_layers": 3, "local_attention": 8, **_SPECIALS}),
}


def batch() -> dict[str, np.ndarray]:
    """Random texts of `LENGTHS` tokens, padded to `SIZE`."""
    random = np.random.default_rng(7)
    mask = (np.arange(SIZE) < np.array(LENGTHS)[:, None]).astype(np.int64)
    ids = np.where(mask, random.integers(3, 90, mask.shape), 0)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def rows(answer: np.ndarray) -> list[Any]:
    """One entry for each text, without its padding."""
    cut = [row[:length] for row, length in zip(answer, LENGTHS, strict=True)] if answer.ndim == 3 else answer
    return [np.asarray(row).tolist() for row in cut]


def asked(lane: Any) -> np.ndarray:
    feed = batch()
    return np.array(lane.infer(feed["input_ids"], feed["token_type_ids"], feed["attention_mask"]))


def _answers(model: Callable[..., Any]) -> list[Any]:
    """Of torch, each text by itself."""
    import torch

    feed, found = batch(), []
    for row, length in enumerate(LENGTHS):
        one = {name: torch.from_numpy(values[row : row + 1, :length]) for name, values in feed.items()}
        with torch.inference_mode():
            found.append(model(one)[0].numpy().tolist())
    return found


def _transformers_model(folder: Path, kind: str, head: str, settings: dict[str, Any]) -> list[Any]:
    """Make it with weights that matter, and ask it."""
    import inspect

    import torch
    import transformers

    classes = {
        "hidden": (transformers.AutoModel, "last_hidden_state"),
        "sequence": (transformers.AutoModelForSequenceClassification, "logits"),
        "token": (transformers.AutoModelForTokenClassification, "logits"),
    }
    make, output = classes[head]
    config = transformers.AutoConfig.for_model(kind, **_SIZES | settings, num_labels=3)
    torch.manual_seed(5)
    model = make.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    takes = inspect.signature(model.forward).parameters

    def ask(feed: dict[str, Any]) -> Any:
        return getattr(model(**{name: feed[name] for name in feed if name in takes}), output)

    return _answers(ask)


def _onnx_model(folder: Path, *, masked: bool) -> list[Any]:
    """A bag of words as an ONNX file, with nothing that a builder could use. Without a mask, padding counts as words."""
    import torch

    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = torch.nn.Embedding(90, 64), torch.nn.Linear(64, 3)
            self.inner = torch.nn.Linear(64, 64)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            weight = attention_mask if masked else torch.ones_like(input_ids) + 0 * attention_mask
            hidden = torch.tanh(self.inner(self.words(input_ids))) * weight[..., None]
            return self.head(hidden.sum(1) / weight.sum(1, keepdim=True)), hidden

    torch.manual_seed(6)
    bag = Bag().eval()
    names = ["input_ids", "attention_mask"]
    example = tuple(torch.from_numpy(batch()[name]) for name in names)
    axes = {name: {0: "b", 1: "l"} for name in (*names, "last_hidden_state")} | {"logits": {0: "b"}}
    (folder / "onnx").mkdir(parents=True)
    torch.onnx.export(
        bag, example, folder / "onnx" / "model.onnx", input_names=names, dynamic_axes=axes, dynamo=False,
        output_names=["logits", "last_hidden_state"],
    )  # fmt: skip
    labels = {str(index): f"label {index}" for index in range(3)}
    config = {"model_type": "bag", "vocab_size": 90, "hidden_size": 64, "pad_token_id": 0, "id2label": labels}
    (folder / "config.json").write_text(json.dumps(config))
    return _answers(lambda feed: bag(feed["input_ids"], feed["attention_mask"])[0])


def _opened(folder: Path, head: str) -> dict[str, Any]:
    from inlet.runtime.build.config import read_config
    from inlet.runtime.build.encoder import Head
    from inlet.runtime.origins.choose import origin_of
    from inlet.runtime.origins.opening import Opening, open_graph
    from inlet.runtime.origins.shape import model_shape

    config, told = read_config(folder), []
    origin = origin_of(folder, config)
    labels = None if head == "hidden" else 3
    shape = model_shape(config, folder)
    opening = Opening(folder, origin, Head(head), shape, labels, folder.parent / "exports" / folder.name)
    opened = open_graph(opening, told.append)
    again = open_graph(opening, lambda text: sys.exit(f"exported again: {text}"))
    (lane,) = opened.graph.compile(opened.variant, threads=1).lanes()
    feed = batch()
    alone = [
        np.array(
            lane.infer(
                *(feed[name][row : row + 1] for name in ("input_ids", "token_type_ids", "attention_mask"))
            )
        )
        for row in range(len(LENGTHS))
    ]
    return {
        "origin": origin.kind, "engine": opened.variant.name, "again": again.variant.name, "told": told,
        "found": rows(asked(lane)), "alone": rows(np.concatenate(alone)),
    }  # fmt: skip


def main(folder: Path) -> None:
    results: dict[str, Any] = {}
    for name, (kind, head, settings) in KINDS.items():
        expected = _transformers_model(folder / name, kind, head, settings)
        results[name] = {"expected": expected, **_opened(folder / name, head)}
    for name, masked in (("onnx", True), ("padding", False)):
        expected = _onnx_model(folder / name, masked=masked)
        results[name] = {"expected": expected, **_opened(folder / name, "sequence")}
    results["shipped"] = {"expected": results["onnx"]["expected"], **_shipped(folder)}
    (folder / "results.json").write_text(json.dumps(results))


def _shipped(folder: Path) -> dict[str, Any]:
    """The same model, of which only a quantised file is there."""
    import shutil

    from onnxruntime.quantization import quantize_dynamic

    (folder / "shipped" / "onnx").mkdir(parents=True)
    shutil.copy(folder / "onnx" / "config.json", folder / "shipped")
    quantize_dynamic(
        folder / "onnx" / "onnx" / "model.onnx", folder / "shipped" / "onnx" / "model_quantized.onnx"
    )
    return _opened(folder / "shipped", "sequence")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
