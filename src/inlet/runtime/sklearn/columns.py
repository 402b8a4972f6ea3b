"""What a model's table looks like, and tables as the array or frame that it reads. Used by `tabular`.

Most models compute with numbers only, and get a bare array: to make a frame of one row takes several times as long as to
predict it. Where a step may look at names, strings or types of columns the model gets a frame, as it got in training.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlet.core.errors import Invalid
from inlet.runtime.dialect import kind
from inlet.runtime.sklearn.table import Table

# scikit-learn's own steps that see more of a column than its numbers.
_LOOKS = frozenset(
    {
        "ColumnTransformer", "FunctionTransformer", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "DictVectorizer",
        "FeatureHasher", "CountVectorizer", "TfidfVectorizer", "HashingVectorizer",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Columns:
    """`names`: in the order of training, None if the model knows none; `count`: None if it does not say how many."""

    names: tuple[str, ...] | None
    count: int | None
    numeric: bool

    @classmethod
    def of(cls, estimator: Any, settings: Mapping[str, Any]) -> Columns:
        """By the model itself, else by the `columns` in the settings of `config.json`."""
        names = getattr(estimator, "feature_names_in_", None)
        if names is None:
            listed = settings.get("columns")
            names = listed if isinstance(listed, list) and listed else None
        count = getattr(estimator, "n_features_in_", None) if names is None else len(names)
        found = None if names is None else tuple(map(str, names))
        return cls(found, count, all(map(_only_numbers, _parts(estimator))))

    def matrix(self, table: Table) -> Any:
        """What `predict` gets; `Invalid` names the column or value that is wrong."""
        columns = self._ordered(table)
        if self.numeric:
            return _numbers(table, columns)
        for name, values in columns.items():
            for row, value in enumerate(values):
                if isinstance(value, list | dict):
                    raise Invalid(f"expected a single value, got {kind(value)}", field=table.field(name, row))
        return self._frame(table, columns)

    def missing(self, table: Table) -> str | None:
        """The field of the first value that is none, if there is one: models that need all values fail on it."""
        for name, values in table.columns.items():
            for row, value in enumerate(values):
                if value is None or (isinstance(value, float) and math.isnan(value)):
                    return table.field(name, row)
        return None

    def _ordered(self, table: Table) -> Mapping[str, Sequence[Any]]:
        """The model's columns in its order."""
        if not table.named or self.names is None:
            if self.count is not None and len(table.columns) != self.count:
                raise Invalid(f"expected {self.count} columns, got {len(table.columns)}", field=table.root)
            if self.names is None:
                return table.columns
            return dict(zip(self.names, table.columns.values(), strict=True))
        for name in self.names:
            if name not in table.columns:
                raise Invalid(
                    f"missing; the model's columns are {', '.join(self.names)}", field=f"{table.root}.{name}"
                )
        for name in table.columns:
            if name not in self.names:
                raise Invalid(
                    f"the model has no such column; it has {', '.join(self.names)}",
                    field=f"{table.root}.{name}",
                )
        return {name: table.columns[name] for name in self.names}

    def _frame(self, table: Table, columns: Mapping[str, Sequence[Any]]) -> Any:
        import pandas as pd

        if self.names is None:
            return np.array(list(columns.values()), dtype=object).T
        frame = pd.DataFrame(columns)
        if table.as_text:  # numbers are what training would have read from such a file
            for name in frame:
                with contextlib.suppress(ValueError, TypeError):
                    frame[name] = pd.to_numeric(frame[name])
        return frame


def _numbers(table: Table, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Rows of float64; numbers as text are numbers, and null is NaN."""
    try:
        matrix = np.array(list(columns.values()), dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        matrix = None
    if matrix is None or matrix.ndim != 2:
        raise _no_number(table)
    return matrix.T


def _no_number(table: Table) -> Invalid:
    for name, values in table.columns.items():
        for row, value in enumerate(values):
            try:
                np.float64(value)
                if not isinstance(value, list | dict):
                    continue
            except (ValueError, TypeError, OverflowError):
                pass
            shown = f"{value[:40]!r}" if isinstance(value, str) else kind(value)
            return Invalid(f"expected a number, got {shown}", field=table.field(name, row))
    return Invalid("expected numbers", field=table.root)


def _parts(estimator: Any) -> Iterator[Any]:
    """The model and every model inside it."""
    yield estimator
    if hasattr(estimator, "get_params"):
        yield from (value for value in estimator.get_params(deep=True).values() if hasattr(value, "fit"))


def _only_numbers(part: Any) -> bool:
    made = type(part)
    if not made.__module__.startswith("sklearn.") or made.__name__ in _LOOKS:
        return False
    # Gradient boosting may take its categories from a frame's types; it says so once it is fitted.
    categories = getattr(part, "is_categorical_", None)
    return categories is None and (
        not made.__name__.startswith("HistGradient") or hasattr(part, "is_categorical_")
    )
