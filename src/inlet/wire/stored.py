"""The stored form: endpoint records, and the grants of a token, as the JSON that a database keeps.

Called by `store/sql.py` only. A record that an older Inlet wrote is completed with defaults, and fields that this one
does not know are passed over. Must never repeat stored values in an error: they may be a person's environment.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from inlet.core.access import Grant
from inlet.core.endpoint import Endpoint
from inlet.core.errors import Refused

_T = TypeVar("_T")

_ENDPOINT: TypeAdapter[Endpoint] = TypeAdapter(Endpoint)
_GRANTS: TypeAdapter[tuple[Grant, ...]] = TypeAdapter(tuple[Grant, ...])


def dump_endpoint(endpoint: Endpoint) -> str:
    """The JSON of one record. Its numbers must be finite: JSON has no others."""
    return _ENDPOINT.dump_json(endpoint).decode()


def load_endpoint(text: str) -> Endpoint:
    """One record from its JSON; `Refused` if this version cannot read it."""
    return _load(_ENDPOINT, text, "endpoint record")


def dump_grants(grants: tuple[Grant, ...]) -> str:
    """The JSON of what a token may do."""
    return _GRANTS.dump_json(grants).decode()


def load_grants(text: str) -> tuple[Grant, ...]:
    """What a token may do, from its JSON; `Refused` if this version cannot read it."""
    return _load(_GRANTS, text, "token's permissions")


def _load(adapter: TypeAdapter[_T], text: str, what: str) -> _T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        places = ", ".join(
            ".".join(map(str, item["loc"])) or "its whole" for item in error.errors(include_input=False)
        )
    # Raised out here so that the values, which pydantic's error repeats, are not even chained to it.
    raise Refused(
        f"a stored {what} cannot be read (at {places}); it may have been written by a newer Inlet: upgrade this one"
    )
