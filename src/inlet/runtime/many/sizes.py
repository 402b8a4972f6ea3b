"""What a model takes of memory before that was measured, and giving memory back after it. Called by `residents`, in a thread."""

from __future__ import annotations

import ctypes
import gc
import time
from collections import Counter
from pathlib import Path

from inlet.runtime import memory

# Of the weights' file, in the precisions that need no artifact: the file stays mapped beside what the engine made of it.
# Measured on an encoder of 500 MB: 1.4 in bf16, 1.75 in fp32.
_TIMES_WEIGHTS = 1.75
_BESIDE = 30_000_000  # tokenizer, graph, room to compute in
_LONGEST_S = 5.0  # mostly it takes a tenth of a second
_AGAIN_S = 0.02


def weights(folder: Path) -> int:
    """Bytes of the weights. A folder may have them in several formats: the largest one counts."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            sizes[path.suffix] += path.stat().st_size
    return max(sizes.values(), default=0)


def predicted(weights: int) -> int:
    """Bytes that a model with such weights takes once it is loaded."""
    return int(_TIMES_WEIGHTS * weights) + _BESIDE


def give_back(target: int) -> None:
    """After a model was closed: return when the process has no more than `target` bytes, or will not come down to it.

    Its threads end after what they are doing, and its memory goes with the last of them.
    """
    end = time.monotonic() + _LONGEST_S
    while time.monotonic() < end:
        _trim()
        if memory.taken() <= target:
            return
        time.sleep(_AGAIN_S)
    gc.collect()  # only now: it holds the interpreter, and engines need none
    _trim()


def _trim() -> None:
    """Have the C library return what it keeps for later; only glibc keeps much, and only it can be told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
