"""What a model raises on the values of a request, as an error of that request. Used by `tabular` and `text`.

scikit-learn says by `ValueError` and `TypeError` that it cannot take what it got: missing values, a category that it never
saw, text where it wants numbers. Anything else is the model's own failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sklearn.exceptions import NotFittedError

from inlet.core.errors import Invalid

_ABSENT = re.compile(r"\bNaN\b|\bNA\b|None", re.IGNORECASE)  # how a model complains of missing values
_LONGEST = 300  # characters of what the model said


@contextmanager
def refusing(field: str, missing: Callable[[], str | None]) -> Iterator[None]:
    """Around the model's call; `missing` finds the field of a value that is none, which explains most failures."""
    try:
        yield
    except NotFittedError:  # is a ValueError, and not the request's fault
        raise
    except (ValueError, TypeError) as error:
        said = str(error).strip().partition("\n")[0][:_LONGEST]
        if _ABSENT.search(said) and (absent := missing()) is not None:
            raise Invalid("there is no value, and the model needs one", field=absent) from error
        raise Invalid(f"the model cannot take these values: {said}", field=field) from error
