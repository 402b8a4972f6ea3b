"""Which ways to compute a text give the very bits that it gets alone on the wide lane: found out by trying.

Some kernels sum in another order for other shapes or thread counts, and which ones do depends on CPU and precision. So
a form is first run beside the reference, and used on its own only if nothing differed. Used by the batcher.

What is compared is every number of every row that the requests get. How many it takes was found out by measuring: with AMX
in bf16 the last layers of a small classifier sum in another order for several texts, in every bucket alike, and after rounding
95 to 98 of 100 logits are equal all the same, each by its own luck. 64 numbers would let that pass one time in four to
thirty, 256 one time in a hundred to a million; a row of hidden states has thousands. What luck lets through even so is
found later: forms in use are compared again from time to time, as long as they are used.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

_ENOUGH = 256  # numbers of one batch size that were equal; see above


class Form(NamedTuple):
    """So many texts of one bucket, on the wide lane or on a narrow one."""

    narrow: bool
    texts: int
    size: int

    @property
    def is_reference(self) -> bool:
        return not self.narrow and self.texts == 1


class Exactness:
    """What has been compared so far, and what came of it."""

    def __init__(self) -> None:
        self._compared: set[Form] = set()
        self._numbers: Counter[tuple[bool, int]] = Counter()
        self._refuted: set[tuple[bool, int]] = set()

    def record(self, form: Form, numbers: int, *, same: bool) -> None:
        """So many results of that form were compared with the reference's.

        One difference rules the batch size out in every bucket: elsewhere it may only have been luck.
        """
        kind = form.narrow, form.texts
        self._compared.add(form)
        self._numbers[kind] += numbers
        if not same:
            self._refuted.add(kind)

    def refuted(self, form: Form) -> bool:
        """Whether it must not be used."""
        return (form.narrow, form.texts) in self._refuted

    def proven(self, form: Form) -> bool:
        """Whether it may be used without another comparison."""
        return form.is_reference or (
            form in self._compared
            and self._numbers[form.narrow, form.texts] >= _ENOUGH
            and not self.refuted(form)
        )
