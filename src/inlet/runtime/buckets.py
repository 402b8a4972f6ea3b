"""Which padded length a text gets, and which batch sizes there are: pure arithmetic, used by `batcher` and `/info`.

A text's bucket depends on its own length alone, and only texts of one bucket share a batch: so an answer never depends
on its neighbours, and the shapes that the engine must know stay few.
"""

from __future__ import annotations

BATCH_SIZES = (8, 4, 2, 1)
_WARM_UP_TO = 128  # a new shape costs some 5 ms: nothing beside a long text's own time


def bucket(length: int, maximum: int) -> int:
    """The padded length for `length` tokens: multiples of 8 up to 128, then of 32, never above `maximum`."""
    step = 8 if length <= 128 else 32
    return min(-(-length // step) * step, maximum)


def buckets(maximum: int) -> tuple[int, ...]:
    """Every bucket of a model whose longest input is `maximum` tokens, ascending."""
    return tuple(sorted({bucket(length, maximum) for length in range(1, maximum + 1)}))


def worth_warming(maximum: int) -> tuple[int, ...]:
    """Buckets whose first use costs noticeably more than the next ones: the short ones."""
    return tuple(size for size in buckets(maximum) if size <= _WARM_UP_TO)


def batch_size(waiting: int) -> int:
    """The largest batch that can be filled with real texts."""
    return next(size for size in BATCH_SIZES if size <= waiting)
