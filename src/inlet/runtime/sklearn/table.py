"""A request's table in one form, from all the forms in use: columns, records, rows, and CSV. Pure; used by `tabular`.

{"data": {"length": [5.1, 4.9], "width": [3.5, 3.0]}}    also as "table", or without either
{"data": [{"length": 5.1, "width": 3.5}, …]}             also as the bare list
{"data": [[5.1, 3.5], [4.9, 3.0]]}                       the same; values in the model's order
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from inlet.core.errors import Invalid, TooLarge
from inlet.runtime.dialect import kind

MAX_ROWS = 100_000  # in one request


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length. `named`: whether their names are the caller's; `as_text`: whether every value is text.

    `root` is the field that it was in; `by_row`, whether a row comes before a column in a field's name.
    """

    columns: Mapping[str, list[Any]]
    root: str
    named: bool = True
    as_text: bool = False
    by_row: bool = False

    def field(self, name: str, row: int) -> str:
        """The field of one value."""
        column = f".{name}" if self.named else f"[{list(self.columns).index(name)}]"
        return f"{self.root}[{row}]{column}" if self.by_row else f"{self.root}{column}[{row}]"


def read_table(inputs: Any) -> Table:
    """From JSON; `Invalid` names the field that is wrong."""
    root = "inputs"
    if isinstance(inputs, dict) and len(inputs) == 1:
        (name, inner), *_ = inputs.items()
        # A column may have such a name itself; then its values are no rows.
        if name in ("data", "table") and (
            isinstance(inner, dict)
            or (isinstance(inner, list) and inner[:1] and isinstance(inner[0], list | dict))
        ):
            root, inputs = f"inputs.{name}", inner
    if isinstance(inputs, dict) and inputs:
        return _from_columns(inputs, root)
    if isinstance(inputs, list) and inputs:
        _check_length(len(inputs), root)
        if isinstance(inputs[0], dict):
            return _from_records(inputs, root)
        if isinstance(inputs[0], list):
            return _from_rows(inputs, root)
    got = "nothing in it" if inputs in ({}, []) else kind(inputs)
    raise Invalid(
        'expected a table: {"data": {column: [value, …], …}}, a list of objects, or a list of rows; got '
        + got,
        field=root,
    )


def read_csv(text: str, *, header: bool | None = None, own: Collection[str] = ()) -> Table:
    """From CSV; an empty value is none. `header`: whether a line of names comes first; None if nobody said so.

    Then one does, but numbers are no names unless they are the model's `own`: what was meant as a row would be lost.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except csv.Error as error:
        raise Invalid(f"not valid CSV: {error}", field="body") from error
    if header is False:
        if not lines:
            raise Invalid("expected a line for each row", field="body")
        names, rows = [str(index) for index in range(len(lines[0]))], lines
    else:
        if len(lines) < 2:
            raise Invalid(
                "expected a line with the names of the columns, and a line for each row", field="body"
            )
        names, rows = lines[0], lines[1:]
        if header is None and all(map(_is_number, names)) and set(names) != set(own):
            raise Invalid(
                "the first line holds numbers where the names of the columns should be; where it is a row, send it as "
                "'text/csv; header=absent', where these are names as 'text/csv; header=present'",
                field="body",
            )
    _check_length(len(rows), "body")
    if len(set(names)) < len(names):
        raise Invalid("two columns have the same name", field="body")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise Invalid(f"{len(row)} values for {len(names)} columns", field=f"body[{number}]")
    columns = {name: [row[index] or None for row in rows] for index, name in enumerate(names)}
    return Table(columns, "body", named=header is not False, as_text=True, by_row=True)


def _from_columns(columns: Mapping[str, Any], root: str) -> Table:
    length = None
    for name, values in columns.items():
        if not isinstance(values, list):
            raise Invalid(f"expected a list of values, got {kind(values)}", field=f"{root}.{name}")
        if length is not None and len(values) != length:
            raise Invalid(
                f"{len(values)} values, but the columns before it have {length}", field=f"{root}.{name}"
            )
        length = len(values)
    if not length:
        raise Invalid("the table has no rows", field=root)
    _check_length(length, root)
    return Table(columns, root)


def _from_records(records: list[Any], root: str) -> Table:
    names = records[0].keys()
    for number, record in enumerate(records):
        field = f"{root}[{number}]"
        if not isinstance(record, dict):
            raise Invalid(f"expected an object as before it, got {kind(record)}", field=field)
        if record.keys() != names:
            name = min(record.keys() ^ names)
            raise Invalid("is not in every row", field=f"{field}.{name}")
    if not names:
        raise Invalid("the row has no values", field=f"{root}[0]")
    return Table({name: [record[name] for record in records] for name in names}, root, by_row=True)


def _from_rows(rows: list[Any], root: str) -> Table:
    width = len(rows[0])
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise Invalid(
                f"expected a list of values as before it, got {kind(row)}", field=f"{root}[{number}]"
            )
        if len(row) != width:
            raise Invalid(f"{len(row)} values, but the first row has {width}", field=f"{root}[{number}]")
    if not width:
        raise Invalid("the row has no values", field=f"{root}[0]")
    columns = {str(index): list(values) for index, values in enumerate(zip(*rows, strict=True))}
    return Table(columns, root, named=False, by_row=True)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_length(rows: int, root: str) -> None:
    if rows > MAX_ROWS:
        raise TooLarge(f"{rows} rows, more than {MAX_ROWS}; send them in several requests", field=root)
