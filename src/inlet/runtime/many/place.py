"""One model of several: what is known of it, loaded or not. Changed by `residents` only, shown by `serving` and `metrics`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from inlet.core.errors import InletError
from inlet.core.models import Listed
from inlet.runtime.options import Options
from inlet.runtime.replica import Phase
from inlet.runtime.serving import Serving


class State(StrEnum):
    """Of a model, as callers see it."""

    UNLOADED = "unloaded"
    WAITING = "waiting"  # for memory that others have
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model could not be loaded, `times` in a row; not tried again before the loop's time `until`."""

    kind: type[InletError]
    reason: str
    times: int
    until: float


class Place:
    """Where one model sits while it is loaded (a `Seat`), and what is remembered of it while it is not.

    `users`: requests that it computes; `waiting`: those that wait until it is loaded. `leaving`: it takes no new ones, and is
    evicted after the last. `improving`: something is made that holds its engine. `size` in bytes, predicted until it was
    `measured`, None until it was looked at; `last_used` in seconds since the epoch.
    """

    def __init__(self, listed: Listed, options: Options) -> None:
        self.listed, self.options = listed, options
        self.served: Serving | None = None
        self.out_of_memory = asyncio.Event()
        self.state = State.UNLOADED
        self.loading: asyncio.Task[Failure | None] | None = None
        self.improvement: asyncio.Task[None] | None = None
        self.improving = self.leaving = self.measured = False
        self.failure: Failure | None = None
        self.size: int | None = None
        self.users = self.waiting = self.requests = self.loads = self.evictions = 0
        self.load_seconds: float | None = None
        self.last_used: float | None = None

    def become_ready(self, served: Serving) -> None:
        """From now on this one answers; the one before ends with its last request."""
        if self.served is not None:
            self.served.replace()
        self.served, self.state = served, State.READY

    def report(self, phase: Phase, _: str) -> None:
        """How far a load is; from a thread as well. Ignored once it is over."""
        if self.served is None:
            self.state = State.DOWNLOADING if phase is Phase.DOWNLOADING else State.LOADING

    @property
    def available(self) -> bool:
        """Whether a request can be computed now."""
        return self.served is not None and not self.leaving

    @property
    def evictable(self) -> bool:
        return (
            self.served is not None
            and not (self.users or self.improving)
            and (self.leaving or not self.waiting)
        )

    def row(self) -> dict[str, Any]:
        """What `GET /models` says of it."""
        task = self.listed.task if self.served is None else self.served.task
        return {
            "model_id": self.listed.model_id,
            "repository": self.listed.repository,
            "revision": self.listed.revision,
            "task": task,
            "state": self.state,
            "reason": None if self.failure is None else self.failure.reason,
            "memory_bytes": self.size,
            "measured": self.measured,
            "last_used": self.last_used,
            "requests": self.requests,
            "loads": self.loads,
            "evictions": self.evictions,
            "load_seconds": self.load_seconds,
        }
