"""Migrations of the future, for tests of what happens to a database that is older than the program."""

from __future__ import annotations

import shutil
from pathlib import Path

from inlet.store.schema import MIGRATIONS

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{down}"

def upgrade():
    op.add_column("namespaces", sa.Column("colour", sa.Text))
    {more}
"""


def with_next_migration(folder: Path, more: str) -> Path:
    """The migrations that ship, and one that adds the column `colour` to `namespaces` and then does `more`."""
    shutil.copytree(MIGRATIONS, folder / "migrations")
    versions = folder / "migrations" / "versions"
    newest = max(path.name[:4] for path in versions.glob("*.py"))
    (versions / "9999_next.py").write_text(_NEXT.format(down=newest, more=more))
    return folder / "migrations"
