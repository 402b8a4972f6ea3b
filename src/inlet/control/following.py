"""What a control does while another leads: its routers and its API go by what that one sees.

Run by `control/several.py` in place of the control loop. It tells its routers from the records and the leader's sight,
passes their reports on, and says that it is there. The only thing that it may do to a platform is to clear up its own:
what is left there of a lead that another took over.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from inlet.backends.base import Backend
from inlet.control.identity import within_reach
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.peers import Watch
from inlet.control.tables import route_table
from inlet.core.access import Token
from inlet.core.endpoint import Endpoint
from inlet.core.errors import BackendUnavailable, InletError
from inlet.core.seen import SeenReplicaSet
from inlet.store.base import Lease, Notice, Store
from inlet.wire.notices import PRESENCE, SIGHT, SIGNALS, Reports, Sight, dump_reports, load_sight

log = structlog.get_logger()

LOOKS_EVERY_S = 0.5
TELLS_EVERY_S = 1.0
WAIT_STANDS_S = 2.0  # how long the others can read that somebody waits, before they read that nobody does
PRESENT_EVERY_S = 2.0
BREATH_S = 0.1  # between two looks, however often it is woken


class Follower:
    """`me` and `url` are this control's; `holder` answers whoever leads; the rest is as the control loop has it.

    `obstacle` says why routers of this control cannot serve, if so.
    """

    def __init__(
        self,
        store: Store,
        *,
        me: str,
        url: str,
        holder: Callable[[], Lease | None],
        backend: Backend,
        board: LoadBoard,
        publisher: RoutePublisher,
        host_of: Callable[[Endpoint], str | None],
        preset_tokens: Sequence[Token],
        grace: float,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._store, self._me, self._url, self._holder = store, me, url, holder
        self._backend, self._board, self._publisher = backend, board, publisher
        self._host_of, self._preset_tokens, self._grace = host_of, tuple(preset_tokens), grace
        self._clock, self._steady = clock, steady
        self._woken = asyncio.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._read: Notice | None = None  # what `_sight` was read from
        self._sight: Sight | None = None
        self._told_at, self._told_busy, self._told_waiting = -math.inf, False, False
        self._present_at, self._presence = -math.inf, Watch(self._steady)
        self._leaving: set[str] = set()
        self.obstacle: str | None = None

    @property
    def followers(self) -> list[Notice]:
        """The presence of each control that follows, this one included."""
        return self._presence.alive()

    @property
    def sets(self) -> Sequence[SeenReplicaSet]:
        """What the leader saw last; `BackendUnavailable` before anything is known of it."""
        if self._sight is None:
            raise BackendUnavailable("what the control that leads sees is not known yet")
        return self._sight.sets

    def wake(self) -> None:
        """Look again now: a record or a token was changed here, or a request waits."""
        self._woken.set()

    async def run(self) -> None:
        """Look after look, from nothing. Ends only by cancellation."""
        self._begin_anew()
        failing = False
        while True:
            self._woken.clear()
            try:
                await self.look()
                if failing:
                    log.info("follows_again")
                failing = False
            except InletError as error:
                # The database is away: routers keep the table that they have. Or the platform is: what is left there stays.
                if not failing:
                    log.warning("not_following", error=str(error))
                failing = True
            await asyncio.sleep(BREATH_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKS_EVERY_S - BREATH_S):
                    await self._woken.wait()

    async def look(self) -> None:
        """Once: say that it is there, pass on what routers report, tell them the routes, clear up."""
        await self._be_present()
        await self._tell()
        # The lease was read before the sight: whoever takes a lease first takes down what it showed when it led before.
        # One that is its own is from before a restart, and so is that sight: it is about to lead on.
        holder = self._holder()
        if holder is None or holder.holder == self._me:
            return
        sight = await self._look_at(holder)
        if sight is None:
            return
        reached = await asyncio.to_thread(within_reach, sight.place, holder.holder)
        self._publisher.publish(
            route_table(
                await self._store.all_endpoints(),
                # A request here waits rather than being sent where nothing can be reached: this control may lead next.
                sight.sets if reached else (),
                sight.routed,
                (*self._preset_tokens, *await self._store.list_tokens()),
                host_of=self._host_of,
                now=self._clock(),
            )
        )
        self.obstacle = None if reached else _standby(holder)
        await self._clear_up(sight)

    async def _look_at(self, holder: Lease) -> Sight | None:
        notices = await self._store.list_notices(SIGHT)
        notice = next((n for n in notices if n.control == holder.holder), None)
        if notice is None:
            return None
        if notice != self._read:
            self._read = notice
            try:
                self._sight = load_sight(notice.body)
            except ValidationError:
                self._sight = None
                log.warning("sight_refused", control=notice.control)
                self.obstacle = f"another version of Inlet leads, at {holder.url}, and is not understood: upgrade this one"
        return self._sight

    async def _clear_up(self, sight: Sight) -> None:
        known = {replica.id for s in sight.sets for replica in s.replicas}
        for left in await self._backend.observe():
            if known.isdisjoint(replica.id for replica in left.replicas) and left.id not in self._leaving:
                log.info("left_over_removed", replica_set=left.id)
                await self._backend.remove(left.id, grace=self._grace)
                self._leaving.add(left.id)

    async def _tell(self) -> None:
        reports = self._board.reports()
        signals = [signal for report in reports for signal in report.endpoints]
        busy, waiting = bool(signals), any(signal.waiting for signal in signals)
        pause = TELLS_EVERY_S
        if waiting != self._told_waiting:
            pause = 0.0 if waiting else WAIT_STANDS_S
        now = self._steady()
        if not (busy or self._told_busy) or now - self._told_at < pause:
            return
        await self._store.put_notice(self._me, SIGNALS, dump_reports(Reports(self._clock(), reports)))
        self._told_at, self._told_busy, self._told_waiting = now, busy, waiting

    async def _be_present(self) -> None:
        now = self._steady()
        if now - self._present_at >= PRESENT_EVERY_S:
            await self._store.put_notice(self._me, PRESENCE, self._url)
            self._present_at = now
            self._presence.read(await self._store.list_notices(PRESENCE))


def _standby(holder: Lease) -> str:
    return (
        f"the replicas run on another machine, where {holder.url} leads, and cannot be reached from here: "
        "this control stands by and takes over when that one is gone"
    )
