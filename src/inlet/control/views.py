"""From records to what the API shows of them: the URL, the price, and what an observation adds.

Used by `control/endpoints.py` and `control/observability.py`. Reads only; a backend that cannot be asked at once
leaves blanks and never holds up an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from inlet.backends.base import Watched
from inlet.core.catalogue import CATALOGUE, find
from inlet.core.endpoint import Endpoint
from inlet.core.errors import BackendUnavailable
from inlet.core.seen import Exit, ExitKind, SeenReplicaSet
from inlet.settings import Settings
from inlet.wire.v2 import render_endpoint
from inlet.wire.v2.render import Sight

_PATIENCE_S = 1.0
_KEEPS_ENDING = 2  # ends in a row; one may be an accident


class Views:
    """Renders endpoints."""

    def __init__(self, *, backend: Watched, settings: Settings) -> None:
        self._backend, self._settings = backend, settings

    def url(self, endpoint: Endpoint) -> str:
        """Where requests for predictions go."""
        domain = self._settings.base_domain
        if domain:
            return f"https://{endpoint.name}-{endpoint.id}.{domain}"
        return f"{self._settings.url}/{endpoint.namespace}/{endpoint.name}"

    def render(self, endpoint: Endpoint, sight: Sight | None = None) -> dict[str, Any]:
        """The endpoint object."""
        instance = find(endpoint.spec.workload.hardware, CATALOGUE)
        return render_endpoint(endpoint, url=self.url(endpoint), instance=instance, sight=sight)

    async def describe(self, endpoint: Endpoint) -> dict[str, Any]:
        """The endpoint object with what can be seen of its replicas."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                sets = await self.replica_sets(endpoint)
        except (BackendUnavailable, TimeoutError):
            return self.render(endpoint)
        target = [s for s in sets if s.revision == endpoint.target.number]
        return self.render(endpoint, _sight(target or sets))

    async def replica_sets(self, endpoint: Endpoint) -> Sequence[SeenReplicaSet]:
        """What the platform shows of this endpoint, newest revision first."""
        sets = [s for s in await self._backend.observe() if s.endpoint_id == endpoint.id]
        return sorted(sets, key=lambda s: s.revision, reverse=True)


def _sight(sets: Sequence[SeenReplicaSet]) -> Sight:
    details = [replica.detail for s in sets for replica in s.replicas if replica.detail][:1]
    ended = [(s, s.last_exit) for s in sets if s.last_exit is not None]
    details += [_ended(last) for s, last in ended if not s.ready and s.ends < _KEEPS_ENDING][:1]
    unrest = [
        f"replicas keep ending, {s.ends} in a row so far; the last: {_why(last)}"
        for s, last in ended
        if s.n and s.ends >= _KEEPS_ENDING
    ][:1]
    limits = [s.limits for s in sets if s.limits is not None]
    return Sight(
        detail="; ".join(filter(None, details)),
        unrest="".join(unrest),
        limits=limits[0] if limits else None,
    )


def _ended(exit_: Exit) -> str:
    if exit_.kind is ExitKind.NOT_STARTED:
        return ""  # the record's own note says so already
    return f"the replica before it ended: {_why(exit_)}"


def _why(exit_: Exit) -> str:
    """Why a replica ended: the first line, because more is its own output, which the logs have."""
    return exit_.message.partition("\n")[0]
