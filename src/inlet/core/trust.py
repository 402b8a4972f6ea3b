"""What the files of a model may run when they are loaded, and in which confines: variables of the endpoint and of the server. Pure.

Read by the API, which refuses what cannot be, by backends, which let no endpoint loosen what its server says (`imposed`), and
by replicas. Pickles are not opened unless an endpoint says so; a repository's own handler runs unless somebody says no.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from inlet.core.errors import Invalid
from inlet.core.flags import flag_of, is_on

ALLOW_PICKLE = "INLET_ALLOW_PICKLE"
TRUSTED_TYPES = "INLET_TRUSTED_TYPES"
ALLOW_CODE = "INLET_ALLOW_CODE"
REMOTE_CODE = "HF_TRUST_REMOTE_CODE"
SANDBOX = "INLET_SANDBOX"
REACH = "INLET_SANDBOX_REACH"
LENT_TOKEN = "INLET_HUB_TOKEN"  # noqa: S105 - a name
"""The server's own token for the Hub, lent to a replica: for its downloads, and never for code that was downloaded."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_HOST_AND_PORT = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\]):\d{1,5}")
_PORTS = {"http": 80, "https": 443}


class Confinement(StrEnum):
    """How much must be enforced around code from a repository, the least first."""

    OFF = "off"
    BEST_EFFORT = "best-effort"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Trust:
    """`pickle`: files that can run any code. `types`: dotted names of classes and functions beyond the libraries' own.

    `code`: Python files of the repository. `remote_code`: also those that define its architecture. `reach`: `host:port` of what they may talk to beside the Internet.
    """

    pickle: bool
    types: tuple[str, ...]
    code: bool
    remote_code: bool
    confinement: Confinement
    reach: tuple[str, ...]


def trust_of(environ: Mapping[str, str]) -> Trust:
    """What these variables allow; `Invalid` names the one that cannot be read. Where no code may run, no pickle may either."""
    code = code_of(environ.get(ALLOW_CODE, "1"))
    return Trust(
        code and pickle_of(environ.get(ALLOW_PICKLE, "0")),
        types_of(environ.get(TRUSTED_TYPES) or ""),
        code,
        is_on(environ.get(REMOTE_CODE, "")),
        confinement_of(environ.get(SANDBOX) or Confinement.BEST_EFFORT),
        # Where `imposed` has spoken, the Hub that an endpoint names for itself is no reason to let it anywhere.
        reach_of(environ[REACH]) if REACH in environ else _hub(environ),
    )


def imposed(server: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """What a replica must be told whatever its endpoint says: the stricter of both, and the server's word on what to reach."""
    code = all(code_of(said.get(ALLOW_CODE, "1")) for said in (server, own))
    said = [confinement_of(server.get(SANDBOX) or Confinement.BEST_EFFORT)]
    if own.get(SANDBOX):
        said.append(confinement_of(own[SANDBOX]))
    reach = (*reach_of(server.get(REACH) or ""), *_hub(server))
    return {
        ALLOW_CODE: str(int(code)),
        SANDBOX: max(said, key=list(Confinement).index),
        REACH: ",".join(reach),
    }


def code_of(text: str, *, field: str = ALLOW_CODE) -> bool:
    """`Invalid` unless it is 1 or 0."""
    return flag_of(text, field=field)


def pickle_of(text: str, *, field: str = ALLOW_PICKLE) -> bool:
    """`Invalid` unless it is 1 or 0."""
    return flag_of(text, field=field)


def types_of(text: str, *, field: str = TRUSTED_TYPES) -> tuple[str, ...]:
    """Names separated by commas; `Invalid` for one that is no dotted name."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _DOTTED.fullmatch(name):
            raise Invalid(f"{name!r} is not the full name of a type, like package.module.Type", field=field)
    return names


def confinement_of(text: str, *, field: str = SANDBOX) -> Confinement:
    """`Invalid` lists what there is."""
    try:
        return Confinement(text.strip().lower())
    except ValueError:
        raise Invalid(f"{text!r} is none of {', '.join(Confinement)}", field=field) from None


def reach_of(text: str, *, field: str = REACH) -> tuple[str, ...]:
    """`host:port`, separated by commas; `Invalid` for one that is not."""
    places = tuple(place.strip().lower() for place in text.split(",") if place.strip())
    for place in places:
        if not _HOST_AND_PORT.fullmatch(place):
            raise Invalid(f"{place!r} is not a host and a port, like registry.internal:443", field=field)
    return places


def _hub(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where models come from, which may be a mirror in a private network."""
    url = urlsplit(environ.get("HF_ENDPOINT") or "")
    try:
        port = url.port or _PORTS.get(url.scheme)
    except ValueError:
        return ()
    if url.hostname is None or port is None:
        return ()
    return (f"[{url.hostname}]:{port}" if ":" in url.hostname else f"{url.hostname}:{port}",)
