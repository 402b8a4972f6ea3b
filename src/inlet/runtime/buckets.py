"""Which padded length a text gets, and which batches there are: pure arithmetic, used by the batcher and `/info`.

A text's bucket depends on its own length alone, and only texts of one bucket share a batch: so an answer never depends
on its neighbours, and the shapes that the engine must know stay few.
"""

from __future__ import annotations

from collections.abc import Mapping

BATCH_SIZES = (8, 4, 2, 1)
_BATCH_TOKENS = 256  # a larger batch computes no more texts a second, and holds up the others
_WARM_UP_TOKENS = 128  # a new shape costs some 5 ms: nothing beside a long text's own time


def bucket(length: int, maximum: int) -> int:
    """The padded length for `length` tokens: multiples of 8 up to 128, then of 32, never above `maximum`."""
    step = 8 if length <= 128 else 32
    return min(-(-length // step) * step, maximum)


def buckets(maximum: int) -> tuple[int, ...]:
    """Every bucket of a model whose longest input is `maximum` tokens, ascending."""
    return tuple(sorted({bucket(length, maximum) for length in range(1, maximum + 1)}))


def batch_sizes(size: int) -> tuple[int, ...]:
    """How many texts of the bucket `size` may share a batch, descending to 1."""
    return tuple(texts for texts in BATCH_SIZES if texts == 1 or texts * size <= _BATCH_TOKENS)


def worth_warming(maximum: int) -> tuple[tuple[int, int], ...]:
    """Shapes (texts, bucket) whose first use costs noticeably more than the next ones, single texts first."""
    return tuple(
        (texts, size)
        for texts in reversed(BATCH_SIZES)
        for size in buckets(maximum)
        if texts * size <= _WARM_UP_TOKENS
    )


def batches(texts: Mapping[int, int]) -> dict[tuple[int, int], int]:
    """How many batches of each shape (texts, bucket) the waiting texts make, given how many there are of each bucket."""
    shapes: dict[tuple[int, int], int] = {}
    for size, count in texts.items():
        rest = count
        for most in batch_sizes(size):
            full, rest = divmod(rest, most)
            if full:
                shapes[most, size] = full
    return shapes
