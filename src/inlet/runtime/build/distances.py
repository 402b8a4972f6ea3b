"""What attention makes of the distance between two tokens, as arrays that are computed once. Plain numpy.

Called by `config` and `encoder`; knows no tensor's name and no engine. A distance is the key's position minus the query's.
Logarithms are taken in float32 like the reference's: finer ones put some distances into another bucket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inlet.runtime.engines.base import Array, IntArray

BIAS_ROWS = 32  # of MPNet's table: 16 for keys before the query, 16 for those after it
_BIAS_FAR = 128  # all distances from here on share a row


def biases(table: Array, positions: int) -> Array:
    """MPNet's `table` [32, A] spread over the distances 1 - positions … positions - 1: [A, 2 * positions - 1]."""
    distance = np.arange(1 - positions, positions)
    size, rows = np.abs(distance), BIAS_ROWS // 2
    exact = rows // 2
    ratio = np.maximum(size, exact).astype(np.float32) / np.float32(exact)
    shared = exact + np.log(ratio) / np.float32(np.log(_BIAS_FAR / exact)) * np.float32(rows - exact)
    row = np.where(size < exact, size, np.minimum(shared.astype(np.int64), rows - 1))
    return np.ascontiguousarray(table[row + np.where(distance > 0, rows, 0)].T)


@dataclass(frozen=True, slots=True)
class Disentangled:
    """Which scores DeBERTa adds to those of contents against contents: one or both of contents against distances.

    `of_queries`, `of_keys`: whose contents. `shared`: the contents' own weights project the table of distances, too;
    `normed`: it goes through a layer norm before. `reach`: distances from there on are not told apart; if `buckets` is
    not 0, distances from half of it on share rows by their logarithm.
    """

    of_queries: bool
    of_keys: bool
    shared: bool
    normed: bool
    reach: int
    buckets: int

    @property
    def span(self) -> int:
        """Half the rows of the table; its middle row is distance 0."""
        return self.buckets or self.reach

    @property
    def kinds(self) -> int:
        """Scores that are added up."""
        return 1 + self.of_queries + self.of_keys

    def query_rows(self, positions: int) -> IntArray:
        """Row of the table for a query and a key that is 1 - positions … positions ahead of it: [2 * positions]."""
        return self._rows(positions, 1)

    def key_rows(self, positions: int) -> IntArray:
        """Row of the table for a key and a query that is 1 - positions … positions ahead of it: [2 * positions]."""
        return self._rows(positions, -1)

    def _rows(self, positions: int, sign: int) -> IntArray:
        behind = self._bucket(-np.arange(1 - positions, positions + 1))
        return np.clip(self.span + sign * behind, 0, 2 * self.span - 1)

    def _bucket(self, distance: IntArray) -> IntArray:
        if not self.buckets:
            return distance
        half = self.buckets // 2
        size = np.abs(distance)
        ratio = np.maximum(size, half).astype(np.float32) / np.float32(half)
        share = np.log(ratio) / np.log(np.float32((self.reach - 1) / half))
        shared = np.ceil(share * np.float32(half - 1)).astype(np.int64) + half
        return np.where(size <= half, distance, np.sign(distance) * shared)
