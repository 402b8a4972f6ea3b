"""The older API (v1), as the `hugie` tool speaks it: only what differs from v2.

Called by `control/v1.py`. Endpoint objects, requests and errors are those of v2; what is v1's own is that paths have no
namespace, that lists are `{"items": […]}`, and that hardware is listed level by level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from inlet.core.errors import NotFound
from inlet.wire.v2 import schema


class Endpoints(BaseModel):
    """All endpoints of the token's own namespace."""

    items: list[schema.Endpoint]


def render_list(items: Sequence[Any]) -> dict[str, Any]:
    """Any list."""
    return {"items": list(items)}


def regions(vendors: Sequence[Mapping[str, Any]], vendor: str) -> Sequence[Mapping[str, Any]]:
    """The regions of a vendor, of v2's hardware listing; `NotFound` for a vendor that is not in it."""
    found: Sequence[Mapping[str, Any]] = _named(vendors, vendor, "vendor")["regions"]
    return found


def computes(vendors: Sequence[Mapping[str, Any]], vendor: str, region: str) -> Sequence[Mapping[str, Any]]:
    """The instances of a vendor's region, of v2's hardware listing; `NotFound` for either."""
    found: Sequence[Mapping[str, Any]] = _named(regions(vendors, vendor), region, "region")["computes"]
    return found


def _named(items: Sequence[Mapping[str, Any]], name: str, what: str) -> Mapping[str, Any]:
    for item in items:
        if item["name"] == name:
            return item
    raise NotFound(f"There is no {what} {name!r}; there are: {', '.join(item['name'] for item in items)}")
