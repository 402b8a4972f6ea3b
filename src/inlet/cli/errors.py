"""Errors as a person at a terminal sees them: one line in red, what to do, and the request's id. Never a stack trace.

`Commands` is the group that all commands hang on; it is the one place where an `InletError` becomes an exit code.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from inlet.cli.output import say
from inlet.core.errors import (
    Forbidden,
    InletError,
    Invalid,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)

_HINTS: tuple[tuple[type[InletError], str], ...] = (
    (
        Unauthenticated,
        "Check --token or INLET_API_TOKEN; on the server's own machine, `inlet up` makes a new one.",
    ),
    (Forbidden, "A token that may do this is made with `inlet token create`, by an admin."),
    (
        NotFound,
        "`inlet endpoint list` and `inlet namespace list` show what exists; --namespace looks elsewhere.",
    ),
    (TooMany, "It is busy: try again shortly."),
    (Unavailable, "Does it run? `inlet up` starts it; --url or INLET_URL says where it is."),
)


class Commands(TyperGroup):
    """A group of commands that reports errors as this file says."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InletError as error:
            report(error)
            raise typer.Exit(2 if _is_misuse(error) else 1) from None


def report(error: InletError) -> None:
    """Tell a person; standard output stays clean."""
    say(f"Error: {error}", "red")
    hint = hint_for(error)
    if hint is not None:
        say(hint, "dim")
    if error.request_id is not None:
        say(f"Request id: {error.request_id}", "dim")


def _is_misuse(error: InletError) -> bool:
    """Whether an option that was given cannot be, as far as can be told without the server."""
    return isinstance(error, Invalid) and (error.field or "").startswith("--")


def hint_for(error: InletError) -> str | None:
    """What to do about it, where the kind of error alone says so."""
    if isinstance(error, NotFound) and error.request_id is None:
        return None  # a command looked itself, and says what there is
    if error.request_id is not None and isinstance(error, Unavailable):
        return "The server answered: try again, and see its log if it stays like this."
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)
