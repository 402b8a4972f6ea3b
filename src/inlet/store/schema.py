"""Brings a database to the newest migration, inside the caller's transaction.

Called by `SqlStore.open`. Migrations go forward only; a database that a newer Inlet has migrated is refused, never
guessed at. New migrations are files in `migrations/versions/`, numbered.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from inlet.core.errors import Refused

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Run what is missing of `migrations`; nothing is committed here, so it is all of it or nothing."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    strangers = set(MigrationContext.configure(connection).get_current_heads()) - known
    if strangers:
        raise Refused(
            f"the database has the schema {', '.join(sorted(strangers))} of a newer Inlet, or of another program; "
            "upgrade this one to use it, or name a database of its own"
        )
    with EnvironmentContext(
        config,
        scripts,
        fn=lambda revision, _context: scripts._upgrade_revs("head", revision),  # noqa: SLF001 - Alembic's own recipe
    ) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
