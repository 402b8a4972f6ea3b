"""What people do to endpoints: load, intent, guarded commit with its event, wake.

Called by `control/endpoints.py`. Never acts on a platform: the intent is written down, and the control loop, once
woken, makes it true. Answers in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from inlet.backends.base import Watched
from inlet.control.admission import check_features, check_hardware, check_image
from inlet.control.auth import Caller
from inlet.control.sources import check_source
from inlet.control.vault import Vault
from inlet.core import intents
from inlet.core.endpoint import Endpoint
from inlet.core.errors import Conflict, NotFound, Refused
from inlet.core.spec import Spec
from inlet.store.base import Event, Store
from inlet.wire.v2 import parse_create, parse_update

log = structlog.get_logger()

Warnings = tuple[tuple[str, str], ...]

_ATTEMPTS = 5  # lost races in a row; the other writer is the control loop, which is brief
_ID_LENGTH = 12
_LONGEST_MESSAGE = 300


class Kind(StrEnum):
    """`kind` of a person's event; the words are those of the public audit log."""

    CREATED = "endpointCreated"
    UPDATED = "endpointUpdated"
    PAUSED = "endpointPaused"
    RESUMED = "endpointResumed"
    SCALED_TO_ZERO = "endpointScaledToZero"
    DELETED = "endpointDeleted"


class Commands:
    """The intents. `folders` are those that local models may lie below, resolved; `home` is never served."""

    def __init__(
        self,
        *,
        store: Store,
        backend: Watched,
        vault: Vault,
        folders: Sequence[Path],
        home: Path,
        wake: Callable[[str | None], None],
        clock: Callable[[], float],
        allow_commands: bool,
    ) -> None:
        self._store, self._backend, self._vault = store, backend, vault
        self._folders, self._home = tuple(folders), home
        self._wake, self._clock = wake, clock
        self._allow_commands = allow_commands

    async def create(
        self, namespace: str, body: Mapping[str, Any], caller: Caller
    ) -> tuple[Endpoint, Warnings]:
        """A new endpoint; `Conflict` if the name is taken."""
        parsed = parse_create(body, seal=self._seal)
        await self._admit(parsed.spec, None)
        endpoint = intents.create(
            parsed.spec,
            id=_new_id(),
            namespace=namespace,
            name=parsed.name,
            person=caller.person,
            now=self._clock(),
        )
        await self._store.add_endpoint(endpoint, self._event(endpoint, Kind.CREATED, caller, "created"))
        self._committed(endpoint, Kind.CREATED)
        return endpoint, parsed.warnings

    async def update(
        self, namespace: str, name: str, body: Mapping[str, Any], caller: Caller
    ) -> tuple[Endpoint, Warnings]:
        """`body` merged into what is there."""
        warnings: Warnings = ()

        async def change(endpoint: Endpoint) -> Endpoint:
            nonlocal warnings
            parsed = parse_update(name, endpoint.spec, body, seal=self._seal)
            await self._admit(parsed.spec, endpoint.spec)
            warnings = parsed.warnings
            return intents.update(endpoint, parsed.spec, person=caller.person, now=self._clock())

        fields = ", ".join(sorted(_paths(body))) or "nothing"
        endpoint = await self._change(namespace, name, caller, Kind.UPDATED, f"updated: {fields}", change)
        return endpoint, warnings

    async def pause(self, namespace: str, name: str, caller: Caller) -> Endpoint:
        """Stop, and stay stopped."""

        async def change(endpoint: Endpoint) -> Endpoint:
            return intents.pause(endpoint, person=caller.person, now=self._clock())

        return await self._change(namespace, name, caller, Kind.PAUSED, "paused", change)

    async def resume(self, namespace: str, name: str, caller: Caller) -> Endpoint:
        """Start again, if the instance is still to be had."""

        async def change(endpoint: Endpoint) -> Endpoint:
            resumed = intents.resume(endpoint, person=caller.person, now=self._clock())
            check_hardware(endpoint.spec.workload.hardware, await self._backend.catalogue())
            return resumed

        return await self._change(namespace, name, caller, Kind.RESUMED, "resumed", change)

    async def scale_to_zero(self, namespace: str, name: str, caller: Caller) -> Endpoint:
        """Fall asleep now."""

        async def change(endpoint: Endpoint) -> Endpoint:
            return intents.scale_to_zero(endpoint, person=caller.person, now=self._clock())

        return await self._change(namespace, name, caller, Kind.SCALED_TO_ZERO, "scaled to zero", change)

    async def delete(self, namespace: str, name: str, caller: Caller) -> None:
        """Stop and forget; it is invisible at once."""

        async def change(endpoint: Endpoint) -> Endpoint:
            return intents.delete(endpoint, person=caller.person, now=self._clock())

        await self._change(namespace, name, caller, Kind.DELETED, "deleted", change)

    async def find(self, namespace: str, name: str) -> Endpoint:
        """The endpoint, or `NotFound`."""
        endpoint = await self._store.get_endpoint(namespace, name)
        if endpoint is None:
            raise NotFound(f"There is no endpoint {name!r} in namespace {namespace!r}")
        return endpoint

    async def _change(
        self,
        namespace: str,
        name: str,
        caller: Caller,
        kind: Kind,
        message: str,
        change: Callable[[Endpoint], Awaitable[Endpoint]],
    ) -> Endpoint:
        for _ in range(_ATTEMPTS):
            changed = await change(await self.find(namespace, name))
            committed = await self._store.commit(changed, [self._event(changed, kind, caller, message)])
            if committed is not None:
                self._committed(committed, kind)
                return committed
        raise Conflict(f"{namespace}/{name} is being changed by somebody else; try again")

    def _committed(self, endpoint: Endpoint, kind: Kind) -> None:
        log.info(
            kind.value,
            endpoint=endpoint.id,
            name=f"{endpoint.namespace}/{endpoint.name}",
            state=endpoint.state.value,
            revision=endpoint.target.number,
        )
        self._wake(endpoint.id)

    def _event(self, endpoint: Endpoint, kind: Kind, caller: Caller, message: str) -> Event:
        return Event(
            at=self._clock(),
            endpoint_id=endpoint.id,
            namespace=endpoint.namespace,
            endpoint=endpoint.name,
            kind=kind.value,
            actor=caller.token.name,
            request_id=caller.request_id,
            message=message[:_LONGEST_MESSAGE],
        )

    async def _admit(self, spec: Spec, before: Spec | None) -> None:
        """Refuse what cannot be honoured here; what an endpoint already has is not judged again."""
        check_features(spec)
        if before is not None and spec.workload == before.workload:
            return
        check_image(spec.workload.model, allow_commands=self._allow_commands)
        if before is None or spec.workload.hardware != before.workload.hardware:
            check_hardware(spec.workload.hardware, await self._backend.catalogue())
        await asyncio.to_thread(
            check_source, spec.workload.model, folders=self._folders, home=self._home
        )  # a file system may be slow

    def _seal(self, value: str, stored: str | None) -> str:
        """Sealed anew unless it is what is stored: sending the same secret again is no change."""
        if stored is not None:
            # One that cannot be opened (a lost key) is what a person mends by sending it again.
            with contextlib.suppress(Refused):
                if self._vault.open(stored) == value:
                    return stored
        return self._vault.seal(value)


def _new_id() -> str:
    """Lower-case letters and digits, a letter first: fit for a host name and for a platform's labels."""
    first = secrets.choice(string.ascii_lowercase)
    alphabet = string.ascii_lowercase + string.digits
    return first + "".join(secrets.choice(alphabet) for _ in range(_ID_LENGTH - 1))


def _paths(body: Mapping[str, Any], prefix: str = "", depth: int = 3) -> list[str]:
    """Dotted paths of what a body sets: names of fields only, and none of people's own keys."""
    paths: list[str] = []
    for key, value in body.items():
        if value is None:
            continue
        here = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth > 1 and key not in ("env", "secrets", "image", "measure"):
            paths += _paths(value, f"{here}.", depth - 1)
        else:
            paths.append(here)
    return paths
