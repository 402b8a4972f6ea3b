"""The tables as they are at the newest migration, for building statements.

Read by `sql.py`; `tests/conformance/test_sqlite.py` holds it equal to what the migrations make. The record is the
truth about an endpoint; its other columns repeat what statements must search, order or guard by.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

# SQLite counts upwards only in a column of the type INTEGER.
_COUNTER = BigInteger().with_variant(Integer(), "sqlite")

VISIBLE = "state NOT IN ('deleting', 'gone')"

ENDPOINTS = Table(
    "endpoints",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("namespace", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("record", Text, nullable=False),
)
# A name is free again as soon as its endpoint is being deleted.
Index(
    "endpoints_visible_name",
    ENDPOINTS.c.namespace,
    ENDPOINTS.c.name,
    unique=True,
    sqlite_where=text(VISIBLE),
    postgresql_where=text(VISIBLE),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("grants", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    UniqueConstraint("hash", name="tokens_hash"),
)

NAMESPACES = Table(
    "namespaces",
    METADATA,
    Column("position", _COUNTER, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("name", name="namespaces_name"),
    sqlite_autoincrement=True,
)

# Append only: a line outlives its endpoint, hence no foreign key.
EVENTS = Table(
    "events",
    METADATA,
    Column("position", _COUNTER, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("endpoint_id", String(64), nullable=False),
    Column("namespace", String(64), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text),
    Column("message", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("events_of_endpoint", EVENTS.c.endpoint_id, EVENTS.c.position)

# One row. A name and not a bare row, so that its key can be what an insert of a second one violates.
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("beat", BigInteger, nullable=False),
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("control", String(64), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("beat", BigInteger, nullable=False),
)

# One row, for the same reason.
KEY_CHECKS = Table(
    "key_checks",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("sealed", Text, nullable=False),
)
