"""What the control that leads does for the others: shows what it saw, and hears what their routers report.

Run by `control/several.py` beside the control loop, while this control has the lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog
from pydantic import ValidationError

from inlet.control.load import LoadBoard
from inlet.control.peers import Watch
from inlet.core.errors import InletError
from inlet.core.routes import Signals
from inlet.core.seen import SeenReplicaSet
from inlet.store.base import Notice, Store
from inlet.wire.notices import PRESENCE, SIGHT, SIGNALS, Place, Sight, dump_sight, load_reports

log = structlog.get_logger()

HEARS_EVERY_S = 1.0
SHOWS_AGAIN_S = 60.0
ALONE_S = 2.0  # nobody else is there: who comes is noticed soon enough


class Leader:
    """`me` and `place` are this control's, `leads` says whether it may act; `clock` is the time of day, `steady` only goes on."""

    def __init__(
        self,
        store: Store,
        *,
        me: str,
        place: Place,
        leads: Callable[[], bool],
        board: LoadBoard,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._store, self._me, self._place, self._leads = store, me, place, leads
        self._board, self._clock, self._steady = board, clock, steady
        self._presence, self._signals = Watch(steady), Watch(steady)
        self._shown: tuple[str, float] | None = None  # what, and when

    @property
    def followers(self) -> list[Notice]:
        """The presence of each control that follows."""
        return self._presence.alive()

    async def clear(self) -> None:
        """Take down what this control ever put up: what it saw when it led before must not be taken for new."""
        await self._store.drop_notices(self._me)
        self._shown = None

    async def show(self, sets: Sequence[SeenReplicaSet], routed: Collection[str]) -> None:
        """Let the others know, if it is anything new, and now and then all the same: a database may be restored."""
        # The load of a processor is different each time, and nobody else needs it.
        quiet = tuple(
            replace(s, replicas=tuple(replace(replica, cpu=None) for replica in s.replicas)) for s in sets
        )
        body = dump_sight(Sight(self._place, quiet, tuple(sorted(routed))))
        now = self._steady()
        shown, at = self._shown or ("", now)
        if self._leads() and (body != shown or now - at >= SHOWS_AGAIN_S):
            await self._store.put_notice(self._me, SIGHT, body)
            self._shown = body, now

    async def run(self, wake: Callable[[], None]) -> None:
        """Hear the others, and `wake` the control loop as often as one of them may have committed an intent.

        Ends only by cancellation.
        """
        self._presence, self._signals = Watch(self._steady), Watch(self._steady)
        heard = True
        while True:
            before, heard = heard, False
            try:
                await self.hear()
                heard = True
            except InletError as error:
                if before:
                    log.warning("others_not_heard", error=str(error))
            if heard and (self.followers or not before):  # after an outage the loop may be in a long pause
                wake()
            await asyncio.sleep(HEARS_EVERY_S if self.followers else ALONE_S)

    async def hear(self) -> None:
        """Once: who is there, and what their routers report."""
        self._presence.read(await self._store.list_notices(PRESENCE))
        for notice in self._presence.silent():
            # This control itself is silent since it leads, and so may another be that leads by now.
            if notice.control != self._me and self._leads():
                await self._store.drop_notices(notice.control)
        for notice in self._signals.read(await self._store.list_notices(SIGNALS)):
            self._take(notice)

    def _take(self, notice: Notice) -> None:
        try:
            told = load_reports(notice.body)
        except ValidationError:
            log.warning("reports_refused", control=notice.control)
            return
        now = self._clock()
        for report in told.reports:
            self._board.record(_moved(report, now - told.at), now)


def _moved(report: Signals, by: float) -> Signals:
    """The same on this machine's clock."""
    return replace(
        report,
        endpoints=tuple(
            replace(s, last_request_at=None if s.last_request_at is None else s.last_request_at + by)
            for s in report.endpoints
        ),
    )
