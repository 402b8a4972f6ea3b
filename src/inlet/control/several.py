"""One of several controls on a shared database: it leads or it follows, and never both.

Made by `control/__main__.py` when the database is shared. A control whose lease ran out while nobody took it (the database
is away) goes on looking, but does nothing: its routers must learn of replicas that the platform replaces. Also answers
what the API shows (`Watched`, `standing`): of this control's own backend or of what the leader shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any

import structlog

from inlet.backends.base import Backend, LogLine
from inlet.control.following import Follower
from inlet.control.identity import own_id, own_place
from inlet.control.lead import CALL_WITHIN_S, Lead, steady_clock
from inlet.control.leading import Leader
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.reconciler import Reconciler
from inlet.control.standing import Standing
from inlet.core.access import Token
from inlet.core.catalogue import Instance
from inlet.core.endpoint import Endpoint
from inlet.core.errors import BackendUnavailable, InletError, Misdirected
from inlet.core.seen import SeenReplicaSet
from inlet.settings import Settings
from inlet.store.base import Store
from inlet.store.limit import limit

log = structlog.get_logger()


class Several:
    """One per control process. `clock` is the time of day, `steady` only goes on."""

    def __init__(
        self,
        store: Store,
        *,
        settings: Settings,
        backend: Backend,
        board: LoadBoard,
        publisher: RoutePublisher,
        host_of: Callable[[Endpoint], str | None],
        preset_tokens: Sequence[Token],
        clock: Callable[[], float],
        steady: Callable[[], float] = steady_clock,
    ) -> None:
        me, self._url = own_id(settings.home), settings.own_url
        self._store, self._me, self._backend = store, me, backend
        self._leader = Leader(
            store,
            me=me,
            place=own_place(settings.home),
            leads=self.leads,
            board=board,
            clock=clock,
            steady=steady,
        )
        self.lead = Lead(store, me=me, url=self._url, before_taking=self._leader.clear, clock=steady)
        self._follower = Follower(
            store,
            me=me,
            url=self._url,
            holder=lambda: self.lead.holder,
            backend=backend,
            board=board,
            publisher=publisher,
            host_of=host_of,
            preset_tokens=preset_tokens,
            grace=settings.drain_seconds,
            clock=clock,
            steady=steady,
        )

    # For the control loop

    def leads(self) -> bool:
        """Whether this control may act now."""
        return self.lead.leads

    async def show(self, sets: Sequence[SeenReplicaSet], routed: Collection[str]) -> None:
        """Let the others know what was seen."""
        await self._leader.show(sets, routed)

    def wake(self) -> None:
        """Something was committed here, or a request waits here: let the others know of it soon."""
        self._follower.wake()

    async def run(self, loop: Reconciler) -> None:
        """Run the control loop while this control has the lease, and follow while it has not. Ends only by cancellation."""

        async def rouse() -> None:
            while True:  # the loop waits long for a lead that ran out: it may be back
                await self.lead.turn()
                loop.wake()

        async def leading() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loop.run())
                tasks.create_task(self._leader.run(loop.wake))
                tasks.create_task(rouse())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lead.run())
            while True:
                holds = self.lead.holds
                await _until(self.lead.until(holds=not holds), leading() if holds else self._follower.run())

    async def leave(self) -> None:
        """Nothing of this control goes on: another may take the lead at once."""
        try:
            async with limit(CALL_WITHIN_S):
                await self.lead.resign()
                await self._leader.clear()
        except (InletError, TimeoutError) as error:
            log.warning("left_without_a_word", error=str(error) or "the database does not answer")

    # For the API

    async def observe(self) -> Sequence[SeenReplicaSet]:
        """Every replica set, as whoever leads saw it."""
        return await self._backend.observe() if self.lead.holds else self._follower.sets

    async def catalogue(self) -> Sequence[Instance]:
        """What there is on this machine."""
        return await self._backend.catalogue()

    def logs(
        self, endpoint_id: str, *, replica_id: str | None, tail: int | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Of this control's own replicas; `Misdirected` while another leads, for there they are."""
        if not self.lead.holds:
            holder = self.lead.holder
            if holder is None:
                raise BackendUnavailable(
                    "no control leads at the moment, so no replica can be asked for its logs"
                )
            raise Misdirected(f"logs are kept where the replicas run: ask {holder.url}")
        return self._backend.logs(endpoint_id, replica_id=replica_id, tail=tail, follow=follow)

    def standing(self) -> Standing:
        """Who leads, and who else is there."""
        holds, holder = self.lead.holds, self.lead.holder
        there = (self._leader if holds else self._follower).followers
        return Standing(
            shared=True,
            leads=self.lead.leads,
            leader=None if holder is None else holder.url,
            # The one that leads may have put up its own a moment before it did.
            followers=tuple(sorted(n.body for n in there if holder is None or n.control != holder.holder)),
            obstacle=None if holds else self._follower.obstacle,
        )


async def _until(end: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]) -> None:
    """Do `work` until `end` returns; raises what `work` raises."""
    tasks = [asyncio.create_task(end), asyncio.create_task(work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
