"""The durable store: SQLAlchemy Core on SQLite, in SQL that other databases understand as well.

Made by `control/` with the URL of `database_url`; conforms to `base.Store`. Each call is one short transaction. What
a driver raises ends here: it becomes `Conflict` or `Unavailable` with a sentence of ours, because its own words may
repeat a URL with a password or the values of a statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from inlet.core.access import Token
from inlet.core.endpoint import Endpoint, State
from inlet.core.errors import Conflict, Invalid, Unavailable
from inlet.settings import Settings
from inlet.store import sqlite
from inlet.store.base import Event
from inlet.store.tables import ENDPOINTS, EVENTS, NAMESPACES, TOKENS
from inlet.wire.stored import dump_endpoint, dump_grants, load_endpoint, load_grants

_HIDDEN = (State.DELETING, State.GONE)
_OLDEST_FIRST = (ENDPOINTS.c.created_at, ENDPOINTS.c.id)


def database_url(settings: Settings) -> URL:
    """Where the settings keep the state; `Invalid` for a URL that cannot be used (never repeated: passwords)."""
    if not settings.database_url:
        return URL.create("sqlite", database=str(settings.home / "inlet.db"))
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() != "sqlite":
        raise Invalid("must be a URL like sqlite:////absolute/path", field="INLET_DATABASE_URL")
    return url


class SqlStore:
    """`base.Store` over a database. `busy_timeout`: seconds that a call waits for another process's transaction."""

    def __init__(self, url: URL, *, busy_timeout: float = 5.0) -> None:
        self._url = url
        self._busy_timeout = busy_timeout
        self._engine: AsyncEngine | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        with _translated():
            # In a thread: creating, waiting for another opener and migrating all block.
            await asyncio.to_thread(sqlite.prepare, self._url, busy_timeout=self._busy_timeout)
        self._engine = sqlite.engine_for(self._url, busy_timeout=self._busy_timeout)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def add_endpoint(self, endpoint: Endpoint, event: Event) -> None:
        taken = Conflict(
            f"an endpoint named {endpoint.name!r} exists in namespace {endpoint.namespace!r}; choose another",
            field="name",
        )
        async with self._writing(taken) as connection:
            await connection.execute(insert(ENDPOINTS).values(id=endpoint.id, **_columns(endpoint)))
            await connection.execute(insert(EVENTS), [asdict(event)])

    async def get_endpoint(self, namespace: str, name: str) -> Endpoint | None:
        found = await self._endpoints(
            select(ENDPOINTS.c.record).where(
                ENDPOINTS.c.namespace == namespace,
                ENDPOINTS.c.name == name,
                ENDPOINTS.c.state.not_in(_HIDDEN),
            )
        )
        return found[0] if found else None

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        found = await self._endpoints(select(ENDPOINTS.c.record).where(ENDPOINTS.c.id == endpoint_id))
        return found[0] if found else None

    async def list_endpoints(self, namespace: str | None = None) -> Sequence[Endpoint]:
        query = select(ENDPOINTS.c.record).where(ENDPOINTS.c.state.not_in(_HIDDEN)).order_by(*_OLDEST_FIRST)
        if namespace is not None:
            query = query.where(ENDPOINTS.c.namespace == namespace)
        return await self._endpoints(query)

    async def all_endpoints(self) -> Sequence[Endpoint]:
        return await self._endpoints(select(ENDPOINTS.c.record).order_by(*_OLDEST_FIRST))

    async def commit(self, endpoint: Endpoint, events: Sequence[Event] = ()) -> Endpoint | None:
        following = replace(endpoint, version=endpoint.version + 1)
        still_the_same = (ENDPOINTS.c.id == endpoint.id, ENDPOINTS.c.version == endpoint.version)
        statement = (
            delete(ENDPOINTS).where(*still_the_same)
            if endpoint.state is State.GONE
            else update(ENDPOINTS).where(*still_the_same).values(**_columns(following))
        )
        taken = Conflict(f"another endpoint is named {endpoint.name!r} by now", field="name")
        async with self._writing(taken) as connection:
            if (await connection.execute(statement)).rowcount == 0:
                return None
            if events:
                await connection.execute(insert(EVENTS), [asdict(event) for event in events])
        return following

    async def list_events(self, endpoint_id: str, *, limit: int) -> Sequence[Event]:
        query = (
            select(EVENTS)
            .where(EVENTS.c.endpoint_id == endpoint_id)
            .order_by(EVENTS.c.position.desc())
            .limit(limit)
        )
        return [_event(row) for row in await self._rows(query)]

    async def add_token(self, token: Token) -> None:
        async with self._writing(Conflict("a token with that id or value exists")) as connection:
            await connection.execute(
                insert(TOKENS).values(
                    id=token.id,
                    name=token.name,
                    hash=token.hash,
                    grants=dump_grants(token.grants),
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                    revoked_at=token.revoked_at,
                )
            )

    async def find_token(self, token_hash: str) -> Token | None:
        rows = await self._rows(select(TOKENS).where(TOKENS.c.hash == token_hash))
        return _token(rows[0]) if rows else None

    async def list_tokens(self) -> Sequence[Token]:
        rows = await self._rows(select(TOKENS).order_by(TOKENS.c.created_at, TOKENS.c.id))
        return [_token(row) for row in rows]

    async def revoke_token(self, token_id: str, at: float) -> Token | None:
        this = TOKENS.c.id == token_id
        async with self._writing(Conflict("the token has changed")) as connection:
            await connection.execute(
                update(TOKENS).where(this, TOKENS.c.revoked_at.is_(None)).values(revoked_at=at)
            )
            row = (await connection.execute(select(TOKENS).where(this))).one_or_none()
        return None if row is None else _token(row)

    async def add_namespace(self, name: str, at: float) -> None:
        async with self._writing(Conflict(f"namespace {name!r} exists", field="name")) as connection:
            await connection.execute(insert(NAMESPACES).values(name=name, created_at=at))

    async def list_namespaces(self) -> Sequence[str]:
        return [row.name for row in await self._rows(select(NAMESPACES).order_by(NAMESPACES.c.position))]

    async def _endpoints(self, query: Select[tuple[str]]) -> list[Endpoint]:
        return [load_endpoint(row.record) for row in await self._rows(query)]

    async def _rows(self, query: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with _translated():
            async with self._opened().connect() as connection:
                return (await connection.execute(query)).all()

    @asynccontextmanager
    async def _writing(self, conflict: Conflict) -> AsyncIterator[AsyncConnection]:
        """One writing transaction; `conflict` is what a violated uniqueness means."""
        # SQLite has one writer. Within this process writers queue here, in order; only other processes are met with
        # the busy timeout, which is a lottery.
        async with self._turn:
            with _translated(conflict):
                async with self._opened().connect() as connection:
                    await connection.execution_options(**{sqlite.WRITES: True})
                    async with connection.begin():
                        yield connection

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise Unavailable("the database is not open")
        return self._engine


@contextmanager
def _translated(conflict: Conflict | None = None) -> Iterator[None]:
    """Turn what the driver raises into ours, cutting the chain: see the head of this file."""
    try:
        yield
    except IntegrityError as error:
        raise (conflict or _away(error)) from None
    except DBAPIError as error:
        raise _away(error) from None
    except (PoolTimeoutError, OSError) as error:
        raise Unavailable(f"the database cannot be reached ({type(error).__name__}); try again") from None


def _away(error: DBAPIError) -> Unavailable:
    # SQLite's own words name no value and no address: "database is locked", "disk I/O error", ...
    reason = str(error.orig) if isinstance(error.orig, sqlite3.Error) else type(error.orig).__name__
    return Unavailable(f"the database cannot be used now ({reason}); try again")


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "namespace": endpoint.namespace,
        "name": endpoint.name,
        "state": endpoint.state.value,
        "version": endpoint.version,
        "created_at": endpoint.created_at,
        "record": dump_endpoint(endpoint),
    }


def _event(row: Row[*tuple[Any, ...]]) -> Event:
    return Event(**{field.name: getattr(row, field.name) for field in fields(Event)})


def _token(row: Row[*tuple[Any, ...]]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        hash=row.hash,
        grants=load_grants(row.grants),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
