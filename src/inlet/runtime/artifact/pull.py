"""Takes over the artifacts that another server offers. Called by `inlet artifact pull`.

Trusts nothing that the server says: names and sizes are its own invention until the files have been hashed, and before that
nothing of them can be seen. What it may do with an admin's token is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson

from inlet.core.errors import Refused
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.manifest import Manifest
from inlet.runtime.artifact.store import Artifact, Store

MAX_OFFERED = 10_000


class Server(Protocol):
    """What the client of a server can do."""

    def list_artifacts(self) -> Sequence[Mapping[str, Any]]:
        """Each as `{"id": …, "manifest": …}`."""

    def download_artifact(self, artifact: str, file: str) -> Iterable[bytes]:
        """One file of an artifact, in pieces."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """`unfit`: how many are for other CPUs, engines or versions."""

    taken: Sequence[Artifact]
    unfit: int


def pull(server: Server, store: Store, report: Callable[[str], None]) -> Pulled:
    """Take over what fits this machine and is missing. `Refused` at the first that is not what it is said to be."""
    offered = server.list_artifacts()
    if len(offered) > MAX_OFFERED:
        raise Refused(
            f"the server offers {len(offered)} artifacts; more than {MAX_OFFERED} are not looked at"
        )
    taken, unfit = [], 0
    for item in offered:
        manifest = _manifest(item)
        if manifest is None or not identity.fits(manifest.key):
            unfit += 1
        elif store.find(identity.digest(manifest.key)) is None:
            if item.get("id") != manifest.digest:
                raise Refused(
                    "the server offers an artifact under a name that is not the hash of its manifest: it is damaged"
                )
            # Not its model's name: it may hold anything, and this is shown on a terminal.
            report(f"pulling {manifest.digest[:12]}")
            taken.append(store.adopt(manifest, partial(server.download_artifact, manifest.digest)))
    return Pulled(taken, unfit)


def _manifest(item: Mapping[str, Any]) -> Manifest | None:
    """None for one of another version of Inlet."""
    try:
        return Manifest.load(orjson.dumps(item["manifest"]))
    except Refused:
        return None
    except (KeyError, TypeError):
        raise Refused(
            "the server's list of artifacts cannot be read: is it the address of an Inlet?"
        ) from None
