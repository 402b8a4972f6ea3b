"""What the commands write: results to standard output, everything else to standard error.

With `--output json` standard output carries the API's objects and nothing else. Must never interpret data as markup.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

WIDE = 250
"""Columns when nobody looks at it: a pipe must not get shortened lines."""

UNLIMITED = 10_000
"""Columns that no row reaches."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed

_STATE_STYLES: Mapping[str, str] = {
    "running": "green",
    "failed": "red",
    "updateFailed": "red",
    "paused": "dim",
    "scaledToZero": "dim",
}


class Output(StrEnum):
    """How a result is shown."""

    TABLE = "table"
    JSON = "json"


def console(*, stderr: bool = False) -> Console:
    """A console on the present stream, that prints data as it is."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else WIDE,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=True,
    )


def json(value: Any) -> None:
    """The only thing on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def say(text: str, style: str = "") -> None:
    """A word to the person, beside the result."""
    console(stderr=True).print(_harmless(text), style=style or None)


def moment(timestamp: str | None) -> str | None:
    """A time of the API to the second, for people."""
    return timestamp and re.sub(r"\.\d+", "", timestamp)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Rows under headings, one line each however narrow the terminal is: what is cut in two cannot be copied.

    `empty` is said instead (to standard error) when there are none.
    """
    from rich.measure import Measurement
    from rich.table import Table

    listed = [[_cell(value) for value in row] for row in rows]
    if not listed:
        say(empty)
        return
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, no_wrap=True)
    for row in listed:
        made.add_row(*row)
    out = console()
    out.width = max(out.width, Measurement.get(out, out.options.update(max_width=UNLIMITED), made).maximum)
    out.print(made)


def facts(pairs: Mapping[str, object]) -> None:
    """Names and values, one a line; values of None are left out."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs.items():
        if value is not None:
            made.add_row(name, _cell(value))
    console().print(made)


def _harmless(text: str) -> str:
    """With control characters spelled out: others chose the names and errors, and a terminal obeys such."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _cell(value: object) -> Text:
    text = "" if value is None else _harmless(str(value))
    return Text(text, style=_STATE_STYLES.get(text, ""))
