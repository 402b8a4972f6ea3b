"""Which ways to compute a text give the very bits that it gets alone on the wide lane: found out by trying.

Some kernels sum in another order for other shapes or thread counts, and which ones do depends on CPU and precision. So
a form is first run beside the reference, and used on its own only if nothing differed. Used by the batcher.

What is compared is every number of every row that the requests get. That is evidence and not proof: forms in use are
compared again from time to time. What was found out is kept in a file beside the artifact, since it holds for every
replica with that artifact and that many threads: the first minutes of the next one need not be spent on it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from inlet.process import write_private

_ENOUGH = 64  # numbers of one batch size that were equal
_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """So many texts of one bucket, on the wide lane or on a narrow one."""

    narrow: bool
    texts: int
    size: int

    @property
    def is_reference(self) -> bool:
        return not self.narrow and self.texts == 1


class Exactness:
    """What has been compared so far, and what came of it. `kept`: the file that it is read from and written to."""

    def __init__(self, kept: Path | None = None) -> None:
        self._kept = kept
        self._compared: set[Form] = set()
        self._numbers: Counter[tuple[bool, int]] = Counter()
        self._refuted: set[tuple[bool, int]] = set()
        if kept is not None:
            self._read(kept)

    def record(self, form: Form, numbers: int, *, same: bool) -> None:
        """So many results of that form were compared with the reference's.

        One difference rules the batch size out in every bucket: elsewhere it may only have been luck.
        """
        kind = form.narrow, form.texts
        known = self.proven(form) or self.refuted(form)
        self._compared.add(form)
        self._numbers[kind] += numbers
        if not same:
            self._refuted.add(kind)
        if self._kept is not None and known != (self.proven(form) or self.refuted(form)):
            self._write(self._kept)

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

    def _read(self, path: Path) -> None:
        """Whatever is wrong with the file: then all is found out anew."""
        try:
            kept = json.loads(path.read_bytes())
            compared = {Form(*form) for form in kept["compared"]}
            numbers = Counter({(narrow, texts): numbers for narrow, texts, numbers in kept["numbers"]})
            refuted = {(narrow, texts) for narrow, texts in kept["refuted"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError) as error:
            _log.warning("%s is not used: %s: %s", path.name, type(error).__name__, error)
            return
        self._compared, self._numbers, self._refuted = compared, numbers, refuted

    def _write(self, path: Path) -> None:
        kept = {
            "compared": sorted(self._compared),
            "numbers": [(*kind, numbers) for kind, numbers in self._numbers.items()],
            "refuted": sorted(self._refuted),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(kept))
        except OSError as error:
            _log.warning("%s cannot be kept: %s", path.name, error.strerror)
