"""The seam inside the store: what differs between one kind of database and another.

Implemented by `sqlite` and `postgresql`, used by `sql.py` only, which writes its statements once for all of them.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

WRITES = "inlet_writes"
"""Execution option of a connection whose transactions write."""


class Database(Protocol):
    """One database at one URL."""

    async def prepare(self) -> None:
        """Bring the schema up to date, also while others do the same. `Refused` says what a person must mend."""

    def engine(self) -> AsyncEngine:
        """A pool of connections; connects to nothing yet."""

    def turn(self, *, writes: bool) -> AbstractAsyncContextManager[None]:
        """Entered around each call: where calls queue, or are given up after a while with a `TimeoutError`."""

    def insert(self, table: Table) -> Any:
        """The dialect's insert, which has `excluded` and `on_conflict_do_update` (named alike, but no common type)."""

    def reason(self, error: DBAPIError) -> str:
        """A driver's error in words that repeat no address, no password and no value of a statement."""
