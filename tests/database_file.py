"""What others may do to a SQLite database behind our back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """As by a backup program that is in the middle of a writing transaction."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def away(file: Path) -> Iterator[None]:
    """It lies elsewhere for a while."""
    aside = file.with_suffix(".aside")
    file.rename(aside)
    yield
    aside.rename(file)
