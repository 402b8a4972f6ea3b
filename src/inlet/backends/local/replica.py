"""One replica: its keeper process, its phase, its end. Owned by `supervisor.py`.

A keeper's end is an event (pidfd); readiness is hinted at by datagrams and decided by `GET /health`, with slow probes
as a safety net. Must never decide whether there should be another replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from inlet.backends.base import Launch
from inlet.backends.local import cgroups, keeper
from inlet.backends.local.command import Placement, environment
from inlet.backends.local.exits import describe
from inlet.backends.local.limits import Allotment
from inlet.backends.local.probe import CannotAsk, Health, probe
from inlet.backends.local.records import ReplicaFolder, ReplicaRecord
from inlet.backends.local.site import Site
from inlet.backends.local.spawn import packed, spawn
from inlet.backends.local.strays import kill_processes_of
from inlet.core.seen import Exit, ExitKind, Phase, SeenReplica

_log = structlog.get_logger(__name__)
_STARTING_PHASES = {
    "downloading": Phase.DOWNLOADING,
    "pulling": Phase.PULLING,
    "initializing": Phase.INITIALIZING,
}


class Replica:
    """`on_end` is called once, when the keeper has ended; `on_change` when the phase or the progress is another."""

    def __init__(
        self,
        site: Site,
        folder: ReplicaFolder,
        record: ReplicaRecord,
        *,
        on_change: Callable[[Replica], None],
        on_end: Callable[[Replica, Exit], None],
    ) -> None:
        self._site = site
        self._folder = folder
        self._record = record
        self._on_change = on_change
        self._on_end = on_end
        self.phase = Phase.INITIALIZING
        # On the monotonic clock; None until it was ready for the first time.
        self.ready_since: float | None = None
        self.keeper_pid = 0
        self.cpu: float | None = None
        self._detail = ""
        self._asked = folder.stopping
        self._deadline = math.inf  # of the drain; the keeper's own, when it was adopted
        self._unresponsive = self._adopted = False
        self._failures = 0
        self._losing_log = ""
        self._pidfd = -1
        self._last_resort: asyncio.TimerHandle | None = None
        self._poke = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self.probed = asyncio.Event()  # set after the first answer, or the first silence, or the end

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def created_at(self) -> float:
        return self._record.created_at

    @property
    def vcpus(self) -> float:
        return self._record.vcpus

    @property
    def groups(self) -> tuple[str, ...]:
        return self._record.groups

    @property
    def leaving(self) -> bool:
        """Told to stop, or draining because somebody else told it."""
        return self._asked or self.phase is Phase.TERMINATING

    # Beginning

    @classmethod
    def start(
        cls,
        site: Site,
        folder: ReplicaFolder,
        replica_id: str,
        endpoint_id: str,
        launch: Launch,
        allotment: Allotment,
        *,
        on_change: Callable[[Replica], None],
        on_end: Callable[[Replica, Exit], None],
    ) -> Replica:
        """Write the record, prepare the limits, start the keeper, in this order; OSError if one of them fails."""
        confinement = site.rung.confine(replica_id, allotment)
        record = ReplicaRecord(
            id=replica_id,
            created_at=time.time(),
            socket=str(site.socket(replica_id)),
            vcpus=allotment.vcpus,
            memory=allotment.memory,
            enforced=site.rung.memory.enforced,
            groups=confinement.groups,
        )
        replica = cls(site, folder, record, on_change=on_change, on_end=on_end)
        try:
            folder.create(record)
            site.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = site.log(endpoint_id, replica_id)
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            placement = Placement(
                replica_id=replica_id,
                socket=Path(record.socket),
                cache=site.cache,
                termination_log=folder.termination_log,
                notify=site.notify,
                vcpus=allotment.vcpus,
                memory=allotment.memory,
                artifacts=site.artifacts,
            )
            plan = keeper.Plan(
                replica_id=replica_id,
                folder=str(folder.path),
                command=list(site.command(launch, placement)),
                env=environment(launch, placement),
                notify=str(site.notify),
                log=str(log),
                log_bytes=site.log_bytes,
                grace=site.drain_seconds,
                spare_answers=site.timing.spare_answers,
                enter=list(confinement.enter),
                events=confinement.events,
                data_limit=confinement.data_limit,
                watched_memory=confinement.watched_memory,
                cpus=list(confinement.cpus),
            )
            replica._watch(*(site.pool.take(plan) or _spawn(plan)))
        except OSError:
            # The keeper may have begun, if watching it was what failed.
            site.spawn(replica._clear_away(leftovers=True))
            raise
        return replica

    def adopt(self) -> None:
        """Take over from an earlier control; a replica that has ended meanwhile ends now."""
        known = self._folder.keeper()
        if known is not None:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(known.pid)
                # In this order: the number cannot be given to another process between the two.
                if keeper.identity(known.pid) == known.identity:
                    self._adopted = True
                    self._watch(known.pid, pidfd)
                    if self._asked:
                        self._order_end(self._site.drain_seconds)
                    return
                os.close(pidfd)
        self._finish()

    def _watch(self, pid: int, pidfd: int) -> None:
        self.keeper_pid, self._pidfd = pid, pidfd
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._ended)
        self._probing = loop.create_task(self._probe())
        if self._asked:
            self.phase = Phase.TERMINATING

    # Life

    def hear(self, fields: Mapping[str, str]) -> None:
        """A datagram of this replica: take its progress, and look at once if it says more."""
        detail = fields.get("STATUS", self._detail)
        if detail != self._detail:
            self._detail = detail
            self._on_change(self)
        self._poke.set()

    async def _probe(self) -> None:
        pause = self._site.timing.first_probe
        while True:
            try:
                self._learn(await probe(self._record.socket, self._site.timing.probe_timeout))
            except CannotAsk as error:
                _log.warning("replica not asked", replica=self.id, error=str(error))
            self.probed.set()
            ready = self.phase is Phase.RUNNING
            pause = self._site.timing.probe if ready else min(pause, self._site.timing.probe)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poke.wait()
            self._poke.clear()
            pause *= 2

    def _learn(self, health: Health) -> None:
        """What one answer means: without a good one it gets no more requests, and after some it is replaced."""
        if self._asked:
            return
        before = (self.phase, self._detail)
        if health.status == 200:
            self._failures = 0
            self.phase = Phase.RUNNING
            self._detail = ""
            self.ready_since = self.ready_since or time.monotonic()
        elif health.state == "terminating":
            self.phase = Phase.TERMINATING
        elif health.status and (self.ready_since is None or health.state in _STARTING_PHASES):
            # One that was ready says so itself while what computes in it is started again.
            self._failures = 0
            self.phase = _STARTING_PHASES.get(health.state, Phase.INITIALIZING)
            if self.ready_since is not None:
                self._detail = health.error
                self.ready_since = time.monotonic()  # what it lasts is counted from its return
        elif health.listening or self._adopted or self.ready_since is not None:
            self._failures += 1
            patience = self._site.timing.starting_failures
            if self.ready_since is not None:
                patience = self._site.timing.failures
                # One that drains closes its socket before it ends.
                if self.phase is not Phase.TERMINATING:
                    self.phase = Phase.INITIALIZING
                    self._detail = health.error or "its health check is not answered"
            if self._failures >= patience:
                self._unresponsive = True
                self.stop(0.0)
                return
        # Else it does not listen yet: it may read and compile for as long as the startup timeout allows. An adopted one
        # may have listened before, or be only just beginning.
        if (self.phase, self._detail) != before:
            self._on_change(self)

    def loses_log(self, reason: str) -> None:
        """Its keeper tells why it cannot write the replica's log at present; empty when it can."""
        if reason and not self._losing_log:
            _log.warning("log of a replica not written", replica=self.id, error=reason)
        self._losing_log = reason

    def seen(self) -> SeenReplica:
        return SeenReplica(
            id=self.id,
            phase=self.phase,
            address=f"unix:{self._record.socket}",
            started_at=self._record.created_at,
            detail=self._detail,
            cpu=self.cpu,
        )

    # End

    def stop(self, grace: float) -> None:
        """Drain within `grace` seconds, which the keeper sees to; told again, only an earlier deadline counts."""
        deadline = time.monotonic() + grace
        if self._asked and deadline >= self._deadline:
            return
        self._asked, self._deadline, self.phase = True, deadline, Phase.TERMINATING
        with contextlib.suppress(OSError):  # a full disk: the keeper then takes its default grace
            self._folder.stop(grace)
        self._order_end(grace)
        self._on_change(self)

    def _order_end(self, grace: float) -> None:
        """The keeper sees to it; if it hangs itself, it is killed at last."""
        self._signal(signal.SIGTERM)
        self._forget_last_resort()
        self._last_resort = asyncio.get_running_loop().call_later(
            grace + self._site.timing.keeper_late, self.kill
        )

    def _forget_last_resort(self) -> None:
        if self._last_resort is not None:
            self._last_resort.cancel()
            self._last_resort = None

    def kill(self) -> None:
        """At once, without the keeper's help: the kernel ends the replica when its keeper dies."""
        self._asked = True
        self._signal(signal.SIGKILL)

    def let_go(self) -> None:
        """Stop looking; the process goes on."""
        self._forget_last_resort()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._probing is not None:
            self._probing.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _ended(self) -> None:
        self.let_go()
        status = 0
        with contextlib.suppress(ChildProcessError):  # adopted: somebody else's child
            _, status = os.waitpid(self.keeper_pid, os.WNOHANG)
        self._finish(begun=os.waitstatus_to_exitcode(status) != keeper.NOT_STARTED)

    def _finish(self, *, begun: bool = True) -> None:
        ending = self._folder.ending()
        exit_ = describe(self._record, ending, self._folder.keeper_error())
        if not begun:
            words = (
                self._folder.keeper_error()
                or "its keeper ended before it had written down who it is (is the disk full?)"
            )
            exit_ = Exit(ExitKind.NOT_STARTED, f"The replica could not be started: {words}")
        elif self._unresponsive:
            exit_ = Exit(ExitKind.UNRESPONSIVE, f"Its health check failed {self._failures} times in a row")
        elif ending is None and (self._asked or not self.keeper_pid):
            # Asked for, or found dead by the next control, as after a power cut: then nothing speaks against the revision.
            exit_ = Exit(ExitKind.STOPPED, "Killed")
        elif ending is not None and ending.code == 0 and self.phase is Phase.TERMINATING:
            # Somebody else's SIGTERM, and it drained in order: nothing is wrong with this revision.
            exit_ = Exit(ExitKind.STOPPED, "Stopped by a signal that did not come from Inlet", 0)
        self.phase = Phase.STOPPED
        self.probed.set()
        self._on_end(self, exit_)
        self._site.spawn(self._clear_away(leftovers=ending is None))

    async def _clear_away(self, *, leftovers: bool) -> None:
        """Remove what the replica leaves; after a keeper that was killed, its processes too."""
        await asyncio.to_thread(Path(self._record.socket).unlink, missing_ok=True)
        if leftovers:
            await asyncio.to_thread(kill_processes_of, self._site.notify, {self.id})
        await cgroups.remove_all(Path(group) for group in self._record.groups)
        await asyncio.to_thread(self._folder.clear)
        with contextlib.suppress(OSError):  # still in use, unless the whole set was removed
            self._folder.path.parent.rmdir()


def _spawn(plan: keeper.Plan) -> tuple[int, int]:
    """Start a keeper, as `spawn` does. The two variables mark it as ours even before it has written down who it is."""
    with packed(plan) as memory:
        return spawn(
            [plan.replica_id],
            {name: plan.env[name] for name in ("NOTIFY_SOCKET", keeper.ID_VARIABLE)},
            stdin=memory,
            errors=f"{plan.folder}/{keeper.ERRORS}",
        )
