"""Keeps this control's place among several on one database: who leads, and for how long that can be relied upon.

Made by `control/several.py` where the database is shared. The rules are in `control/election.py`; here are the calls.
What must happen only at one control at a time asks `leads` right before it happens: it ends by the clock and without an
event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from inlet.control.election import LOOKS_EVERY_S, NOBODY, RENEWS_EVERY_S, Candidate
from inlet.core.errors import InletError
from inlet.store.base import Lease, Store
from inlet.store.limit import limit

log = structlog.get_logger()

CALL_WITHIN_S = 3.0  # so that a database that hangs leaves time for a second try before the lead ends


def steady_clock() -> float:
    """Seconds that go on while the machine is suspended, where there is such a clock: a lead must not outlive that."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lead:
    """The lead, as one of several has it or has it not.

    `me` is the same after a restart, so that it finds its lead again; `url` is where its API can be reached;
    `before_taking` is awaited before the lease is taken out of another's hand, or nobody's.
    """

    def __init__(
        self,
        store: Store,
        *,
        me: str,
        url: str,
        before_taking: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        self._store, self._url, self._before_taking, self._clock = store, url, before_taking, clock
        self._candidate = Candidate(me)
        self._look_first = True  # the lease may not be as it was last seen
        self._said: tuple[str | None, bool] = (None, False)
        self._turn = asyncio.Event()  # replaced at each change

    @property
    def leads(self) -> bool:
        """Whether this control may act now."""
        return self._candidate.leads(self._clock())

    @property
    def holds(self) -> bool:
        """Whether the lease was last seen in this control's hand, though it may have run out since."""
        return self._candidate.holds

    @property
    def holder(self) -> Lease | None:
        """The lease of whoever leads, as last seen; None when nobody does."""
        lease = self._candidate.lease
        return None if lease is None or lease.holder == NOBODY else lease

    async def run(self) -> None:
        """Keep it up. Ends only by cancellation."""
        reached = True
        while True:
            began, before, reached = self._clock(), reached, False
            try:
                async with limit(CALL_WITHIN_S):
                    await self.beat()
                reached = True
                if not before:
                    log.info("lease_reached_again")
            except (InletError, TimeoutError) as error:
                self._look_first = True
                if before:
                    log.warning("lease_not_reached", error=str(error) or "the database does not answer")
            self._say()
            pause = RENEWS_EVERY_S if self.leads and not self._look_first else LOOKS_EVERY_S
            await self._rest(began + pause)

    async def beat(self) -> None:
        """Look at the lease if need be, and take or renew it if that is this control's turn."""
        if self._look_first or not self._candidate.holds:
            lease = await self._store.get_lease()
            self._candidate, self._look_first = self._candidate.saw(lease, self._clock()), False
        if not self._candidate.may_put(self._clock()):
            return
        if not self._candidate.holds:
            await self._before_taking()
        self._look_first = True  # until the answer is here, it may be so or so
        began, seen = self._clock(), self._candidate.lease
        self._candidate = self._candidate.tried(began)
        lease = await self._store.put_lease(self._candidate.me, self._url, seen=seen)
        if lease is not None:
            self._candidate, self._look_first = self._candidate.put(lease, began), False

    async def turn(self) -> None:
        """Return when somebody else leads than before, or when this control may act from now on, or may no more."""
        await self._turn.wait()

    async def until(self, *, holds: bool) -> None:
        """Return as soon as this control holds the lease, or holds it no more."""
        while self.holds is not holds:
            await self.turn()

    async def resign(self) -> None:
        """Give the lead up, so that another takes it at once; without this the lease runs out by itself."""
        self._candidate = Candidate(self._candidate.me)
        # Read again, for a renewal that was cut short may have been done.
        seen = await self._store.get_lease()
        if seen is None or seen.holder != self._candidate.me:
            return
        if await self._store.put_lease(NOBODY, "", seen=seen) is not None:
            log.info("lead_given_up")

    async def _rest(self, until: float) -> None:
        await asyncio.sleep(max(0.05, until - self._clock()))

    def _say(self) -> None:
        """Wake who waits for a change, and put each change into the log once."""
        holder = None if self.holder is None else self.holder.holder
        before, self._said = self._said, (holder, self.leads)
        if self._said == before:
            return
        self._turn.set()
        self._turn = asyncio.Event()
        if self.leads:
            log.info("lead_taken" if holder != before[0] else "lead_goes_on")
        elif self.holds:
            log.warning("lead_ran_out")
        elif self.holder is not None:
            log.info("lead_elsewhere", url=self.holder.url)
        else:
            log.warning("nobody_leads")
