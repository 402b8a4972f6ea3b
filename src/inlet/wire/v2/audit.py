"""The audit log on the wire: what people did to endpoints, newest first, in pages.

Called by `control/audit.py`. `message` is our addition: of an update it names the fields, never their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from inlet.core.errors import Invalid
from inlet.wire.v2.render import timestamp

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


class Event(Protocol):
    """What a store keeps (`store.base.Event`)."""

    @property
    def at(self) -> float: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def message(self) -> str: ...


class Actor(BaseModel):
    """The token's name. No id is kept."""

    id: None
    name: str


class Entry(BaseModel):
    """One thing that somebody did."""

    model_config = ConfigDict(alias_generator=to_camel)

    id: str
    created_at: str
    level: str
    endpoint: str
    user: Actor
    request_id: str | None
    reason: str
    message: str


class AuditLog(BaseModel):
    """One page; `next_cursor` is there if an older one follows."""

    list: Sequence[Entry]
    next_cursor: str | None = None


def render_entry(position: int, event: Event) -> dict[str, Any]:
    """One entry; its place in the log is its id."""
    return {
        "id": str(position),
        "createdAt": timestamp(event.at),
        "level": "info",
        "endpoint": event.endpoint,
        "user": {"id": None, "name": event.actor},
        "requestId": event.request_id,
        "reason": event.kind,
        "message": event.message,
    }


def read_cursor(text: str) -> int:
    """The position that a cursor names: that of the last entry of the page before."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid("is not a cursor of this log: take next_cursor of a page", field="cursor")
    return int(text)
