"""Makes one GGUF file of a model and has llama.cpp check it. A process of its own:

    python -m inlet.runtime.gguf --model FOLDER --out FILE [--type q8_0|f16|auto]

Started by `conversion`. Says how far it is, and how it ended, in lines of JSON on standard output: `{"progress": …}`,
`{"converted": true}`, `{"refused": reason}`. `--out` is only there once it is whole and was checked. Needs no network.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from pathlib import Path

from inlet.core.errors import Refused
from inlet.process import EX_CONFIG, die_with_parent
from inlet.runtime.build.config import read_config
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.gguf.conversion import DRAFT
from inlet.runtime.gguf.storage import Storage


def convert(folder: Path, out: Path, storage: Storage) -> None:
    """Write `out`. `Refused` with the reason."""
    try:
        from inlet.runtime.gguf.check import check
        from inlet.runtime.gguf.config import decoder
        from inlet.runtime.gguf.stops import read_stops
        from inlet.runtime.gguf.tensors import plan
        from inlet.runtime.gguf.vocabulary import read_vocabulary
        from inlet.runtime.gguf.write import write
    except ImportError as error:
        raise Refused(f"{error.name} is missing: install inlet-endpoints[llamacpp]") from error
    _say(progress="reading the model's configuration and tokenizer")
    config = read_config(folder)
    shape = decoder(config)
    vocabulary = read_vocabulary(folder, shape.sizes["vocabulary"])
    stops = read_stops(folder, vocabulary, config)
    weights = Weights.open(folder)
    tensors = plan(shape, weights, storage)
    draft = out.with_name(out.name + DRAFT)
    try:
        write(draft, shape, vocabulary, stops, tensors, weights, lambda text: _say(progress=text))
        _say(progress="comparing how llama.cpp splits texts with the tokenizer")
        check(folder, draft)
        _keep(draft)
        draft.rename(out)
    finally:
        draft.unlink(missing_ok=True)


def _keep(file: Path) -> None:
    """Bring it to the disk: nothing but its name says later that it is whole."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> int:
    """The process: dies with its parent, and leaves standard output to `_say`. Its exit code."""
    die_with_parent(signal.SIGKILL)
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever llama.cpp prints is for the log
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(prog="python -m inlet.runtime.gguf", description="Make one GGUF file.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--type", type=Storage, choices=list(Storage), default=Storage.Q8_0)
    given = parser.parse_args()
    try:
        convert(given.model, given.out, given.type)
    except Refused as error:
        _say(refused=str(error))
        return EX_CONFIG
    _say(converted=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
