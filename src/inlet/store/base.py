"""The seam to durable state: endpoints, tokens, namespaces and the audit trail.

Implemented by `memory` and `sql`; used by `control/` only; held together by `tests/conformance/test_stores.py`.
A store never opens a transaction that outlives one call, never decides anything, and never sees a secret or a token
in clear. A database that is away raises `Unavailable`; whether a write that raised it was done is not known then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from inlet.core.access import Token
from inlet.core.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail: a person's intent or a change of state, with its reason in words."""

    at: float
    endpoint_id: str
    namespace: str
    endpoint: str
    kind: str
    actor: str
    request_id: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Which of several controls on one database leads. `url` is where its API can be reached.

    `beat` rises with each renewal. A holder whose beat stands still for long is taken to be gone: whoever waits measures
    that on a clock of its own, so neither a skew between machines nor a clock that jumps can elect two.
    """

    holder: str
    url: str
    beat: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What one control lets the others on its database know. `beat` rises each time it is put up anew."""

    control: str
    kind: str
    body: str
    beat: int


class Store(Protocol):
    """All calls are short; each is one transaction."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None:
        """Let go of all connections."""

    async def add_endpoint(self, endpoint: Endpoint, event: Event) -> None:
        """Insert; `Conflict` if a visible endpoint of the namespace has that name."""

    async def get_endpoint(self, namespace: str, name: str) -> Endpoint | None:
        """The visible endpoint of that name (never one that is being deleted)."""

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        """Any endpoint, one that is being deleted included."""

    async def list_endpoints(self, namespace: str | None = None) -> Sequence[Endpoint]:
        """All visible endpoints (of one namespace), oldest first."""

    async def all_endpoints(self) -> Sequence[Endpoint]:
        """Every record, those being deleted included: what the control loop walks."""

    async def commit(self, endpoint: Endpoint, events: Sequence[Event] = ()) -> Endpoint | None:
        """Replace the record if its version is still `endpoint.version`, and append `events`, atomically.

        Answers the record with its new version, or None if somebody else went on (nothing is written then).
        A record in state `gone` is deleted.
        """

    async def list_events(self, endpoint_id: str, *, limit: int) -> Sequence[Event]:
        """Newest first."""

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
        """Events of these kinds in a namespace, each with its position, newest first.

        `endpoint` and `actor` are names; with `before`, only what stands before that position.
        """

    async def add_token(self, token: Token) -> None:
        """`Conflict` if a token with that hash or id exists."""

    async def find_token(self, token_hash: str) -> Token | None:
        """By hash, revoked and expired ones included."""

    async def list_tokens(self) -> Sequence[Token]:
        """All, oldest first."""

    async def revoke_token(self, token_id: str, at: float) -> Token | None:
        """Mark it revoked (the first time wins); None if there is no such token."""

    async def add_namespace(self, name: str, at: float) -> None:
        """`Conflict` if it exists."""

    async def list_namespaces(self) -> Sequence[str]:
        """All names, in order of creation: the first is everybody's default."""

    async def get_key_check(self) -> str | None:
        """The known text as the key of this database sealed it; None if no key was ever put to use."""

    async def put_key_check(self, sealed: str, *, seen: str | None) -> bool:
        """Set it if it is still as it was `seen`; False when somebody else went on (nothing is written then)."""

    async def get_lease(self) -> Lease | None:
        """Who leads, as far as was written down; None if nobody ever did."""

    async def put_lease(self, holder: str, url: str, *, seen: Lease | None) -> Lease | None:
        """Take or renew the lead if the lease is still as it was `seen`: answers the new lease, its beat one higher.

        None when somebody else went on (nothing is written then).
        """

    async def put_notice(self, control: str, kind: str, body: str) -> None:
        """Put up a control's notice of one kind in place of its last one."""

    async def list_notices(self, kind: str) -> Sequence[Notice]:
        """All of one kind, ordered by control."""

    async def drop_notices(self, control: str) -> None:
        """Take down all that one control put up."""
