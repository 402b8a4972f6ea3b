"""Which endpoints a list answers, in which order, and on which page.

Called by `control/endpoints.py` with the endpoints that the caller may read. Without `limit` and `cursor` the answer
is complete: no client in use follows a cursor. A cursor names the endpoint beside it rather than a count, so that
pages stay right when endpoints come and go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from inlet.core.endpoint import Endpoint, State
from inlet.core.errors import Invalid
from inlet.core.spec import Visibility
from inlet.wire.v2.documents import TASKS
from inlet.wire.v2.shape import no_such

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000
_INTERNAL = (State.DELETING, State.GONE)
_STATES = tuple(state.value for state in State if state not in _INTERNAL)

_Key = tuple[str | float, str]


class SortBy(StrEnum):
    """What a list is sorted by."""

    CREATED_AT = "createdAt"
    UPDATED_AT = "updatedAt"
    NAME = "name"


class Direction(StrEnum):
    """Which end comes first."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Query:
    """The query as sent; comma-separated values mean any of them, except `tags`, which means all of them."""

    tags: str | None = None
    search: str | None = None
    type: str | None = None
    task: str | None = None
    state: str | None = None
    sort_by: SortBy = SortBy.CREATED_AT
    direction: Direction = Direction.DESC
    limit: int | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page, the number of matches on all pages, and the cursors of its neighbours if there are any."""

    items: tuple[Endpoint, ...]
    total: int
    next: str | None = None
    prev: str | None = None


def select(endpoints: Sequence[Endpoint], query: Query) -> Page:
    """The page of `endpoints` that `query` asks for; `Invalid` for a value that no endpoint could have."""
    found = sorted(
        _matching(endpoints, query),
        key=lambda endpoint: _key(endpoint, query.sort_by),
        reverse=query.direction is Direction.DESC,
    )
    if query.limit is None and query.cursor is None:
        return Page(tuple(found), len(found))
    limit = DEFAULT_LIMIT if query.limit is None else query.limit
    start = 0 if query.cursor is None else _start(found, query, limit)
    items = tuple(found[start : start + limit])
    return Page(
        items,
        len(found),
        next=_cursor("after", items[-1], query) if items and start + limit < len(found) else None,
        prev=_cursor("before", items[0], query) if items and start > 0 else None,
    )


def _matching(endpoints: Sequence[Endpoint], query: Query) -> list[Endpoint]:
    tags = set(_words(query.tags))
    types = _words(query.type, "type", tuple(Visibility))
    if Visibility.PRIVATE in types:
        types.append(Visibility.PROTECTED)  # the older spelling of the same
    tasks = _words(query.task, "task", TASKS)
    states = _words(query.state, "state", _STATES)
    search = (query.search or "").lower()
    return [
        endpoint
        for endpoint in endpoints
        if tags <= set(endpoint.spec.tags)
        and (not types or endpoint.spec.visibility in types)
        and (not tasks or _task(endpoint) in tasks)
        and (not states or endpoint.state in states)
        and search in endpoint.name
    ]


def _task(endpoint: Endpoint) -> str | None:
    source = endpoint.target.source
    return endpoint.spec.workload.model.task or (None if source is None else source.task)


def _words(csv: str | None, field: str = "", choices: Sequence[str] = ()) -> list[str]:
    words = [word.strip() for word in (csv or "").split(",") if word.strip()]
    for word in words:
        if choices and word not in choices:
            raise no_such(field, word, choices, field)
    return words


def _key(endpoint: Endpoint, sort_by: SortBy) -> _Key:
    match sort_by:
        case SortBy.CREATED_AT:
            return (endpoint.created_at, endpoint.id)
        case SortBy.UPDATED_AT:
            return (endpoint.updated_at, endpoint.id)
        case SortBy.NAME:
            return (endpoint.name, endpoint.id)


def _cursor(side: str, endpoint: Endpoint, query: Query) -> str:
    text = json.dumps([side, query.sort_by, *_key(endpoint, query.sort_by)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _start(found: Sequence[Endpoint], query: Query, limit: int) -> int:
    """Index of the first item of the page that the cursor names."""
    side, key = _read_cursor(query)
    descending = query.direction is Direction.DESC
    before = 0
    for endpoint in found:
        here = _key(endpoint, query.sort_by)
        earlier = here > key if descending else here < key
        if earlier or (side == "after" and here == key):
            before += 1
    return before if side == "after" else max(0, before - limit)


def _read_cursor(query: Query) -> tuple[str, _Key]:
    cursor = query.cursor or ""
    kind = str if query.sort_by is SortBy.NAME else float
    try:
        side, sort_by, value, id_ = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if side not in ("after", "before") or sort_by != query.sort_by:
            raise ValueError
        return side, (kind(value), str(id_))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise Invalid(
            "is not a cursor of a list with this sortBy; start again without it", field="cursor"
        ) from None
