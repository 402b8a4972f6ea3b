"""Exports a model with torch to a graph, and accepts it only if it answers as torch does. Runs as a process of its own:

    python -m inlet.runtime.build.export --model FOLDER --head HEAD --out FOLDER

Started by `origins/exports`. Says how far it is, and how it ended, in lines of JSON on standard output: `{"progress": …}`,
`{"exported": true}`, `{"torch": reason}` when torch must compute it itself, `{"refused": reason}` when it cannot either.
Writes `model.xml` and `model.bin` into `--out`. Never runs code that comes with a model, and needs no network.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inlet.core.errors import Refused
from inlet.process import die_with_parent
from inlet.runtime.build.config import read_config
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import FloatArray, IntArray, Variant
from inlet.runtime.origins.shape import ModelShape, model_shape

if TYPE_CHECKING:
    from inlet.runtime.engines.openvino.model import OpenVinoModel
    from inlet.runtime.engines.torch import TorchModel

GRAPH = "model.xml"
_NEAR = 1e-4  # of the largest number in an answer, and at least of 1
_EXAMPLE = (24, 17)  # what is traced: two texts of different lengths, so that the mask matters
_TRIALS = ((1,), (7,), (8,), (24, 9, 16), (33, 64))  # lengths of the texts in each batch that is compared
_PADDED = (5, 16)  # a text, and the length to which it is filled up


class _NotExported(Exception):
    """The graph cannot be made, or is not the model; torch can still compute it."""


def export(folder: Path, head: Head, out: Path) -> None:
    """Write the graph into `out`. `_NotExported` or `Refused` with the reason."""
    _say(progress="loading the model with torch")
    from inlet.runtime.engines.torch import TorchModel

    shape = model_shape(read_config(folder), folder)
    model = TorchModel.read(folder, head)
    lengths = [length for length in (*_PADDED, *_EXAMPLE) if length <= shape.positions]
    try:
        model.answer(_batch(shape, lengths[:1]))
    except Exception as error:  # whatever it is, the next text would meet it too
        raise Refused(f"transformers itself fails on a text of {lengths[0]} tokens: {error}") from error
    _check_padding(model, shape)
    _say(progress="exporting the graph")
    graph = _converted(model, shape)
    _say(progress="comparing the graph with torch")
    _compare(model, graph, shape)
    graph.save(out / GRAPH)


def _converted(model: TorchModel, shape: ModelShape) -> OpenVinoModel:
    # Before anything that leaves the converter out.
    import torch

    from inlet.runtime.engines.openvino.convert import convert

    feed = _batch(shape, _EXAMPLE)
    try:
        with torch.inference_mode():
            return convert(model, {name: torch.from_numpy(feed[name]) for name in model.inputs})
    except Exception as error:
        raise _NotExported(f"it does not export: {_line(error)}") from error


def _compare(model: TorchModel, graph: OpenVinoModel, shape: ModelShape) -> None:
    (lane,) = graph.compile(Variant("openvino", "fp32"), threads=1).lanes()
    for lengths in _TRIALS:
        if max(lengths) > shape.positions:
            continue
        feed = _batch(shape, lengths)
        expected = model.answer(feed)
        try:
            found = lane.infer(feed["input_ids"], feed["token_type_ids"], feed["attention_mask"])
        except Exception as error:
            raise _NotExported(f"the graph fails on texts of {lengths} tokens: {_line(error)}") from error
        _check_near(found, expected, lengths, "the graph's answers differ from torch's")


def _check_padding(model: TorchModel, shape: ModelShape) -> None:
    """Replicas fill texts up: what such a filling changes cannot be a graph."""
    length, size = _PADDED
    if size > shape.positions:
        return
    feed = _batch(shape, (length,))
    filled = {name: np.pad(values, ((0, 0), (0, size - length))) for name, values in feed.items()}
    filled["input_ids"][:, length:] = shape.pad_id
    _check_near(
        model.answer(filled), model.answer(feed), (length,), "its answers change with the padding"
    )


def _check_near(found: FloatArray, expected: FloatArray, lengths: tuple[int, ...], complaint: str) -> None:
    """Compare what belongs to the texts; answers per token have a place for each padding too."""
    for row, length in enumerate(lengths):
        ours, theirs = found[row], expected[row]
        if found.ndim == 3:
            ours, theirs = ours[:length], theirs[:length]
        difference = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else np.inf
        if not difference <= _NEAR * max(1.0, float(np.abs(theirs).max())):
            raise _NotExported(f"{complaint}: by {difference:.1e} at {length} tokens")


def _batch(shape: ModelShape, lengths: tuple[int, ...] | list[int]) -> dict[str, IntArray]:
    """Random texts of these lengths; the same every time."""
    random, size = np.random.default_rng(len(lengths)), max(lengths)
    mask = (np.arange(size) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.where(mask, random.integers(0, shape.vocabulary, mask.shape), shape.pad_id)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}


def _line(error: Exception) -> str:
    """The last line of what went wrong: the others name source files of libraries."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """The process: dies with its parent, and leaves standard output to `_say`."""
    die_with_parent(signal.SIGKILL)
    parser = argparse.ArgumentParser(prog="python -m inlet.runtime.build.export", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--head", type=Head, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")  # the tracer's, about what is compared afterwards anyhow
    try:
        export(given.model, given.head, given.out)
        _say(exported=True)
    except _NotExported as error:
        _say(torch=str(error))
    except Refused as error:
        _say(refused=str(error))


if __name__ == "__main__":
    main()
