"""What is particular to PostgreSQL: its driver, its pool, and how long anybody waits for it.

Chosen by `sql.py` when the URL says PostgreSQL. The driver is psycopg 3, which the extra `postgres` installs. What it
promises: a call ends within seconds of `patience`, whatever the server or the network does; a server that was
restarted or has moved is found again by the next call; several controls may open an empty database at once.

- *The server's limits* (`lock_timeout`, `statement_timeout`, `idle_in_transaction_session_timeout`) end what a client
  that hangs or was cut off has left behind, so that its locks hold up nobody.
- *Our limit* (`turn`) ends a call when the server is the one that hangs: then its own limits end nothing.
- *Pre-ping* asks a pooled connection before it is used, and replaces all of them when one is found dead. So does a
  server that became a read-only standby without cutting its connections.
- Transactions are READ COMMITTED whatever the server's default is: each guards what it writes in the same statement.
- Migrations run in one transaction under an advisory lock. Whoever waited for it finds nothing left to do.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import NullPool, Table, event, func, select, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from inlet.core.errors import Refused, Unavailable
from inlet.store.limit import limit
from inlet.store.schema import upgrade

_POOL_SIZE = 5
_POOL_OVERFLOW = 5  # more while callers wait, closed again afterwards
_PREPARE_WITHIN_S = 120.0  # migrations, and waiting for another control's
_MIGRATING = 0x696E6C6574  # "inlet": the advisory lock's number
_DENIED = "42501"
_READ_ONLY = "25006"

# What libpq and psycopg say of a server that they did not reach, and how it is told without repeating an address. The
# first one counts that is found.
_UNREACHED = {
    "invalid connection option": "the URL has a parameter that PostgreSQL does not know",
    "invalid URI query parameter": "the URL has a parameter that PostgreSQL does not know",
    "bad value": "a parameter of the URL has a value that it cannot have",
    " value": "a parameter of the URL has a value that it cannot have",
    "does not support SSL": "sslmode asks for TLS, and the server has none",
    "SSL negotiation": "what listens at that address is not PostgreSQL",
    "session is": "no server is as target_session_attrs asks",
    "server is": "no server is as target_session_attrs asks",
    "No such file": "nothing listens at that socket",
    "refused": "nothing listens at that address",
    "timeout": "no answer from that address",
    "timed out": "no answer from that address",
    "resolve": "its host name cannot be resolved; an @ in the password is written %40",
    "translate": "its host name cannot be resolved; an @ in the password is written %40",
    "root certificate file": "no CA file to check its TLS certificate with: sslrootcert names one",
    "certificate": "its TLS certificate was not accepted",
    "SSL": "TLS could not be agreed on",
    "password": "it asks for a password",
}


class PostgresqlDatabase:
    """`database.Database` on a server. `patience`: seconds after which a call that is not answered is given up."""

    def __init__(self, url: URL, *, patience: float) -> None:
        """`url` may carry libpq's parameters (`sslmode`, `target_session_attrs`, several hosts, …)."""
        self._url = url
        self._patience = patience

    async def prepare(self) -> None:
        engine = self._engine(poolclass=NullPool)
        try:
            async with limit(_PREPARE_WITHIN_S), engine.begin() as connection:
                await connection.execute(text("SET LOCAL statement_timeout = 0"))
                await connection.execute(text("SET LOCAL lock_timeout = 0"))
                encoding = (await connection.execute(text("SHOW server_encoding"))).scalar_one()
                if encoding != "UTF8":
                    raise Refused(
                        f"the database has the encoding {encoding}: make one with CREATE DATABASE … ENCODING 'UTF8' "
                        "TEMPLATE template0"
                    )
                await connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
                await connection.run_sync(upgrade)
        except DBAPIError as error:
            reason = self.reason(error)
            if getattr(error.orig, "sqlstate", None) == _DENIED:
                raise Refused(
                    f"the database's role lacks a right ({reason}): it must own the database, or be granted CREATE "
                    "on its schema"
                ) from None
            raise Unavailable(f"the database at INLET_DATABASE_URL cannot be opened ({reason})") from None
        finally:
            await engine.dispose()

    def engine(self) -> AsyncEngine:
        return self._engine(
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            pool_timeout=self._patience,
            pool_pre_ping=True,
        )

    @asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[None]:  # noqa: ARG002 - readers and writers are alike here
        async with limit(self._patience + 1.0):  # later than the server's own limits, whose errors say more
            yield

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def reason(self, error: DBAPIError) -> str:
        # Of what the driver says, only the server's own sentence is passed on: it never knew the password, and quotes
        # no value (what could, a `DataError`, never comes here). The driver's own words may repeat the URL.
        driver: Any = error.orig
        if driver.diag.message_primary is not None:
            return str(driver.diag.message_primary)
        said = str(driver)
        refusals = re.findall(r"FATAL: +(.+)", said)  # of the last host that was tried
        if refusals:
            return str(refusals[-1])
        return next((ours for theirs, ours in _UNREACHED.items() if theirs in said), "the connection failed")

    def _engine(self, **pool: Any) -> AsyncEngine:
        try:
            engine = create_async_engine(
                self._url.set(drivername="postgresql+psycopg"),
                connect_args=self._connect_args(),
                isolation_level="READ COMMITTED",
                hide_parameters=True,  # statements' values are people's data and belong into no error and no log
                **pool,
            )
        except ModuleNotFoundError:
            raise Refused(
                "PostgreSQL needs a driver that is not installed: pip install 'inlet-endpoints[postgres]'"
            ) from None
        event.listen(engine.sync_engine, "handle_error", _leave_standby)
        return engine

    def _connect_args(self) -> dict[str, Any]:
        """Ours, behind what the URL says itself."""
        milliseconds = int(self._patience * 1000)
        limits = {
            "lock_timeout": milliseconds,
            "statement_timeout": milliseconds + 500,
            "idle_in_transaction_session_timeout": 2 * milliseconds,
        }
        ours = {
            "application_name": "inlet",
            "connect_timeout": max(2, int(self._patience)),  # seconds; libpq takes no less than 2
            "tcp_user_timeout": milliseconds,  # a host that vanished is noticed by the first packet to it
        }
        args = {name: value for name, value in ours.items() if name not in self._url.query}
        options = [f"-c {name}={value}" for name, value in limits.items()]
        args["options"] = " ".join([*options, *self._url.normalized_query.get("options", ())])
        return args


def _leave_standby(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
