"""Exports a model with torch to a graph, and accepts it only if it answers as torch does. Runs as a process of its own:

    python -m inlet.runtime.build.export --model FOLDER --head HEAD --out FOLDER

Started by `origins/exports`. Says how far it is, and how it ended, in lines of JSON on standard output: `{"progress": …}`,
`{"exported": true}`, `{"torch": reason}` when torch must compute it itself, `{"refused": reason}` when it cannot either.
Writes `model.xml` and `model.bin` into `--out`. Never runs code that comes with a model, and needs no network.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inlet.core.errors import Refused
from inlet.process import die_with_parent
from inlet.runtime.build.config import read_config
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.base import FloatArray, Variant
from inlet.runtime.origins import probes
from inlet.runtime.origins.shape import ModelShape, model_shape

if TYPE_CHECKING:
    from inlet.runtime.engines.openvino.model import OpenVinoModel
    from inlet.runtime.engines.torch import TorchModel

GRAPH = "model.xml"
_NEAR = 1e-4
_TRACED = (24, 17)  # lengths of texts; different ones, so that the mask matters
_COMPARED = ((1,), (7,), (8,), (24, 9, 16), (33, 64))


class _NotExported(Exception):
    """The graph cannot be made, or is not the model; torch can still compute it."""


def export(folder: Path, head: Head, out: Path) -> None:
    """Write the graph into `out`. `_NotExported` or `Refused` with the reason."""
    _say(progress="loading the model with torch")
    from inlet.runtime.engines.torch import TorchModel

    shape = model_shape(read_config(folder), folder)
    model = TorchModel.read(folder, head)
    _check_padding(model, shape)
    try:
        graph = _converted(model, shape)
    except _NotExported:
        model.with_plain_attention()
        graph = _converted(model, shape)
    graph.save(out / GRAPH)


def _check_padding(model: TorchModel, shape: ModelShape) -> None:
    """Replicas fill texts up: what depends on that is not for a graph."""
    short = probes.texts(shape, [probes.SHORT])
    try:
        alone = model.answer(short)
    except MemoryError:
        raise
    except Exception as error:  # whatever it is, the next text would meet it too
        raise Refused(f"transformers fails on a text of {probes.SHORT} tokens: {_line(error)}") from error
    longer = probes.texts(shape, [probes.SHORT], size=probes.FILLED)
    try:
        filled = model.answer(longer)
    except MemoryError:
        raise
    except Exception as error:
        raise _NotExported(f"it cannot be given padding: {_line(error)}") from error
    _check_near(filled, alone, [probes.SHORT], "its answers change with the padding")


def _converted(model: TorchModel, shape: ModelShape) -> OpenVinoModel:
    """The graph, which answers as torch does."""
    # The first import of openvino in this process: later ones leave its converter out.
    import torch

    from inlet.runtime.engines.openvino.convert import convert

    _say(progress="exporting the graph")
    feed = probes.texts(shape, _TRACED)
    try:
        with torch.inference_mode():
            example = {name: torch.from_numpy(feed[name]) for name in model.inputs}
            graph = convert(model, example, model.output)
    except MemoryError:
        raise
    except Exception as error:  # of the tracer, of the converter, or of the model's own code
        raise _NotExported(f"it does not export: {_line(error)}") from error
    _say(progress="comparing the graph with torch")
    _compare(model, graph, shape)
    return graph


def _compare(model: TorchModel, graph: OpenVinoModel, shape: ModelShape) -> None:
    (lane,) = graph.compile(Variant("openvino", "fp32"), threads=1).lanes()
    for lengths in _COMPARED:
        if max(lengths) > shape.positions:
            continue
        feed = probes.texts(shape, lengths)
        try:
            found = lane.infer(feed["input_ids"], feed["token_type_ids"], feed["attention_mask"])
        except MemoryError:
            raise
        except Exception as error:
            raise _NotExported(f"the graph fails on texts of {lengths} tokens: {_line(error)}") from error
        _check_near(found, model.answer(feed), lengths, "the graph's answers differ from torch's")


def _check_near(found: FloatArray, expected: FloatArray, lengths: Sequence[int], complaint: str) -> None:
    difference = probes.difference(found, expected, lengths)
    if difference > _NEAR:
        raise _NotExported(f"{complaint}, by {difference:.1e} of the largest number, at {lengths} tokens")


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
