"""The store without a disk: for tests and for trying things out; forgets everything when the process ends.

Same semantics as `sql.py`, held to them by `tests/conformance/test_stores.py`. All records are immutable values, so
what was handed out never changes under a reader. Needs no lock: no method gives way to another half-way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from inlet.core.access import Token
from inlet.core.endpoint import Endpoint, State
from inlet.core.errors import Conflict, Unavailable
from inlet.store.base import Event, Lease, Notice


class MemoryStore:
    """`base.Store` in dictionaries."""

    def __init__(self) -> None:
        self._open = False
        self._endpoints: dict[str, Endpoint] = {}
        self._events: list[Event] = []
        self._tokens: dict[str, Token] = {}
        self._namespaces: list[str] = []
        self._key_check: str | None = None
        self._lease: Lease | None = None
        self._notices: dict[tuple[str, str], Notice] = {}

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def add_endpoint(self, endpoint: Endpoint, event: Event) -> None:
        self._check_open()
        if endpoint.id in self._endpoints or self._taken(endpoint):
            raise Conflict(
                f"an endpoint named {endpoint.name!r} exists in namespace {endpoint.namespace!r}; choose another",
                field="name",
            )
        self._endpoints[endpoint.id] = endpoint
        self._events.append(event)

    async def get_endpoint(self, namespace: str, name: str) -> Endpoint | None:
        self._check_open()
        for endpoint in self._endpoints.values():
            if endpoint.visible and (endpoint.namespace, endpoint.name) == (namespace, name):
                return endpoint
        return None

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        self._check_open()
        return self._endpoints.get(endpoint_id)

    async def list_endpoints(self, namespace: str | None = None) -> Sequence[Endpoint]:
        return [
            endpoint
            for endpoint in await self.all_endpoints()
            if endpoint.visible and namespace in (None, endpoint.namespace)
        ]

    async def all_endpoints(self) -> Sequence[Endpoint]:
        self._check_open()
        return sorted(self._endpoints.values(), key=lambda endpoint: (endpoint.created_at, endpoint.id))

    async def commit(self, endpoint: Endpoint, events: Sequence[Event] = ()) -> Endpoint | None:
        self._check_open()
        present = self._endpoints.get(endpoint.id)
        if present is None or present.version != endpoint.version:
            return None
        if self._taken(endpoint):
            raise Conflict(f"another endpoint is named {endpoint.name!r} by now", field="name")
        following = replace(endpoint, version=endpoint.version + 1)
        if endpoint.state is State.GONE:
            del self._endpoints[endpoint.id]
        else:
            self._endpoints[endpoint.id] = following
        self._events.extend(events)
        return following

    async def list_events(self, endpoint_id: str, *, limit: int) -> Sequence[Event]:
        self._check_open()
        return [event for event in reversed(self._events) if event.endpoint_id == endpoint_id][:limit]

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
        self._check_open()
        found = [
            (position, event)
            for position, event in enumerate(self._events, 1)
            if event.namespace == namespace
            and event.kind in kinds
            and endpoint in (None, event.endpoint)
            and actor in (None, event.actor)
            and (before is None or position < before)
        ]
        return found[::-1][:limit]

    async def add_token(self, token: Token) -> None:
        self._check_open()
        if token.id in self._tokens or await self.find_token(token.hash) is not None:
            raise Conflict("a token with that id or value exists")
        self._tokens[token.id] = token

    async def find_token(self, token_hash: str) -> Token | None:
        self._check_open()
        return next((token for token in self._tokens.values() if token.hash == token_hash), None)

    async def list_tokens(self) -> Sequence[Token]:
        self._check_open()
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    async def revoke_token(self, token_id: str, at: float) -> Token | None:
        self._check_open()
        token = self._tokens.get(token_id)
        if token is not None and token.revoked_at is None:
            token = self._tokens[token_id] = replace(token, revoked_at=at)
        return token

    async def add_namespace(self, name: str, at: float) -> None:  # noqa: ARG002 - order of arrival says it here
        self._check_open()
        if name in self._namespaces:
            raise Conflict(f"namespace {name!r} exists", field="name")
        self._namespaces.append(name)

    async def list_namespaces(self) -> Sequence[str]:
        self._check_open()
        return list(self._namespaces)

    async def get_key_check(self) -> str | None:
        self._check_open()
        return self._key_check

    async def put_key_check(self, sealed: str, *, seen: str | None) -> bool:
        self._check_open()
        if self._key_check != seen:
            return False
        self._key_check = sealed
        return True

    async def get_lease(self) -> Lease | None:
        self._check_open()
        return self._lease

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        self._check_open()
        if self._lease != seen:
            return None
        self._lease = Lease(holder, url, 1 if seen is None else seen.beat + 1)
        return self._lease

    async def put_notice(self, control: str, kind: str, body: str) -> None:
        self._check_open()
        last = self._notices.get((control, kind))
        self._notices[control, kind] = Notice(control, kind, body, 1 if last is None else last.beat + 1)

    async def list_notices(self, kind: str) -> Sequence[Notice]:
        self._check_open()
        return [notice for _, notice in sorted(self._notices.items()) if notice.kind == kind]

    async def drop_notices(self, control: str) -> None:
        self._check_open()
        self._notices = {key: notice for key, notice in self._notices.items() if notice.control != control}

    def _taken(self, endpoint: Endpoint) -> bool:
        return endpoint.visible and any(
            other.visible
            and other.id != endpoint.id
            and (other.namespace, other.name) == (endpoint.namespace, endpoint.name)
            for other in self._endpoints.values()
        )

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable("the database is not open")
