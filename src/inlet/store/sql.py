"""The durable store: SQLAlchemy Core, in statements that every database of `database.Database` understands.

Made by `control/` with the URL of `database_url`; conforms to `base.Store`. Each call is one short transaction. What
a driver raises ends here: it becomes `Conflict`, `Invalid` or `Unavailable` with a sentence of ours, because its own
words may repeat a URL with a password or the values of a statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

from sqlalchemy import Insert, Row, Select, delete, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from inlet.core.access import Token
from inlet.core.endpoint import Endpoint, State
from inlet.core.errors import Conflict, Invalid, Unavailable
from inlet.settings import Settings
from inlet.store.base import Event, Lease, Notice
from inlet.store.database import WRITES, Database
from inlet.store.sqlite import SqliteDatabase
from inlet.store.tables import ENDPOINTS, EVENTS, KEY_CHECKS, LEASES, NAMESPACES, NOTICES, TOKENS
from inlet.wire.stored import dump_endpoint, dump_grants, load_endpoint, load_grants

_HIDDEN = (State.DELETING, State.GONE)
_OLDEST_FIRST = (ENDPOINTS.c.created_at, ENDPOINTS.c.id)
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql",
    "postgresql+psycopg": "postgresql",
    "postgres": "postgresql",
}
_ONLY = "control"  # the name of the one row of its table
_THE_KEY_CHECK = KEY_CHECKS.c.name == _ONLY
_THE_LEASE = LEASES.c.name == _ONLY


def database_url(settings: Settings) -> URL:
    """Where the settings keep the state; `Invalid` for a URL that cannot be used (never repeated: passwords)."""
    if not settings.database_url:
        return URL.create("sqlite", database=str(settings.home / "inlet.db"))
    try:
        url = make_url(settings.database_url)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in _DRIVERS:
        raise Invalid(
            "must be a URL like postgresql://user:password@host/database or sqlite:////absolute/path; "
            "special characters in user and password are written %XX",
            field="INLET_DATABASE_URL",
        )
    return url.set(drivername=_DRIVERS[url.drivername])


def _database_for(url: URL, busy_timeout: float) -> Database:
    if url.get_backend_name() == "sqlite":
        return SqliteDatabase(url, busy_timeout=busy_timeout)
    from inlet.store.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(url, patience=busy_timeout)


class SqlStore:
    """`base.Store` over a database. `busy_timeout`: seconds that a call waits for others' transactions."""

    def __init__(self, url: URL, *, busy_timeout: float = 5.0) -> None:
        self._database = _database_for(url, busy_timeout)
        self._engine: AsyncEngine | None = None

    async def open(self) -> None:
        with self._translated():
            await self._database.prepare()
        self._engine = self._database.engine()

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

    async def search_events(
        self,
        namespace: str,
        kinds: Collection[str],
        *,
        endpoint: str | None,
        actor: str | None,
        before: int | None,
        limit: int,
    ) -> Sequence[tuple[int, Event]]:
        query = select(EVENTS).where(EVENTS.c.namespace == namespace, EVENTS.c.kind.in_(kinds))
        if endpoint is not None:
            query = query.where(EVENTS.c.endpoint == endpoint)
        if actor is not None:
            query = query.where(EVENTS.c.actor == actor)
        if before is not None:
            query = query.where(EVENTS.c.position < before)
        query = query.order_by(EVENTS.c.position.desc()).limit(limit)
        return [(row.position, _event(row)) for row in await self._rows(query)]

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

    async def get_key_check(self) -> str | None:
        rows = await self._rows(select(KEY_CHECKS.c.sealed).where(_THE_KEY_CHECK))
        return rows[0].sealed if rows else None

    async def put_key_check(self, sealed: str, *, seen: str | None) -> bool:
        if seen is None:
            return await self._inserted(insert(KEY_CHECKS).values(name=_ONLY, sealed=sealed))
        as_seen = update(KEY_CHECKS).where(_THE_KEY_CHECK, KEY_CHECKS.c.sealed == seen)
        async with self._writing() as connection:
            return (await connection.execute(as_seen.values(sealed=sealed))).rowcount == 1

    async def get_lease(self) -> Lease | None:
        rows = await self._rows(select(LEASES).where(_THE_LEASE))
        return Lease(rows[0].holder, rows[0].url, rows[0].beat) if rows else None

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        following = Lease(holder, url, 1 if seen is None else seen.beat + 1)
        if seen is None:
            written = await self._inserted(insert(LEASES).values(name=_ONLY, **asdict(following)))
        else:
            as_seen = (LEASES.c.holder == seen.holder, LEASES.c.url == seen.url, LEASES.c.beat == seen.beat)
            statement = update(LEASES).where(_THE_LEASE, *as_seen).values(**asdict(following))
            async with self._writing() as connection:
                written = (await connection.execute(statement)).rowcount == 1
        return following if written else None

    async def put_notice(self, control: str, kind: str, body: str) -> None:
        notice = self._database.insert(NOTICES).values(control=control, kind=kind, body=body, beat=1)
        again = {"body": notice.excluded.body, "beat": NOTICES.c.beat + 1}
        async with self._writing() as connection:
            await connection.execute(
                notice.on_conflict_do_update(index_elements=list(NOTICES.primary_key), set_=again)
            )

    async def list_notices(self, kind: str) -> Sequence[Notice]:
        query = select(NOTICES).where(NOTICES.c.kind == kind).order_by(NOTICES.c.control)
        return [Notice(row.control, row.kind, row.body, row.beat) for row in await self._rows(query)]

    async def drop_notices(self, control: str) -> None:
        async with self._writing() as connection:
            await connection.execute(delete(NOTICES).where(NOTICES.c.control == control))

    async def _endpoints(self, query: Select[tuple[str]]) -> list[Endpoint]:
        return [load_endpoint(row.record) for row in await self._rows(query)]

    async def _rows(self, query: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        with self._translated():
            async with self._database.turn(writes=False), self._opened().connect() as connection:
                return (await connection.execute(query)).all()

    async def _inserted(self, statement: Insert) -> bool:
        """False if such a row exists."""
        try:
            async with self._writing(Conflict("such a row exists")) as connection:
                await connection.execute(statement)
        except Conflict:
            return False
        return True

    @asynccontextmanager
    async def _writing(self, conflict: Conflict | None = None) -> AsyncIterator[AsyncConnection]:
        """One writing transaction; `conflict` is what a violated uniqueness means."""
        with self._translated(conflict):
            async with self._database.turn(writes=True), self._opened().connect() as connection:
                await connection.execution_options(**{WRITES: True})
                async with connection.begin():
                    yield connection

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise Unavailable("the database is not open")
        return self._engine

    @contextmanager
    def _translated(self, conflict: Conflict | None = None) -> Iterator[None]:
        """Turn what the driver raises into ours, cutting the chain: see the head of this file."""
        try:
            yield
        except (DataError, UnicodeEncodeError):
            raise Invalid(
                "a value holds what the database cannot store, such as a zero character or half a surrogate pair"
            ) from None
        except DBAPIError as error:
            if conflict is not None and isinstance(error, IntegrityError):
                raise conflict from None
            reason = self._database.reason(error)
            raise Unavailable(f"the database cannot be used now ({reason}); try again") from None
        except (PoolTimeoutError, TimeoutError):
            raise Unavailable("the database does not answer; try again") from None
        except OSError as error:
            raise Unavailable(f"the database cannot be reached ({type(error).__name__}); try again") from None


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
