"""Keeps `n` replicas of one replica set alive, with back-off. Owned by `backend.py`.

Every change is written to the set's record before it is acted upon, so that the next control finds what this one meant.
The environment is not written (it holds secrets): a set that was adopted cannot start replicas, and says so by reporting
the number that it really keeps as `n`; control sees the difference and applies it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from inlet.backends.base import ReplicaSet
from inlet.backends.local.limits import allot, limits
from inlet.backends.local.records import SetRecord
from inlet.backends.local.replica import Replica
from inlet.backends.local.site import Site
from inlet.core.seen import Exit, ExitKind, Phase, SeenReplicaSet

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_log = structlog.get_logger(__name__)


def backoff(ends: int, longest: float) -> float:
    """Seconds before the next start, after so many ends in a row: 0, 1, 2, 4, … up to `longest`."""
    return 0.0 if ends < 2 else min(longest, 2.0 ** min(ends - 2, 30))


class Supervisor:
    """One replica set. `on_gone` is called when a removal is complete."""

    def __init__(self, site: Site, record: SetRecord, on_gone: Callable[[Supervisor], None]) -> None:
        self._site = site
        self._folder = site.set_folder(record.id)
        self._record = record
        self._on_gone = on_gone
        self._applied: ReplicaSet | None = None
        self._start_timer: asyncio.TimerHandle | None = None
        self._settle_timers: dict[str, asyncio.TimerHandle] = {}
        self._hindered = 0  # starts in a row that this machine prevented
        self.replicas: dict[str, Replica] = {}

    def adopt(self) -> None:
        """Take over from an earlier control all replicas that are on record, and go on with what it had begun."""
        for folder in self._folder.replicas():
            known = folder.record()
            if known is None or known.id != folder.path.name:
                shutil.rmtree(
                    folder.path, ignore_errors=True
                )  # killed before it could write who was to be started
            else:
                self.replicas[known.id] = Replica(
                    self._site, folder, known, on_change=self._replica_changed, on_end=self._replica_ended
                )
        for replica in tuple(self.replicas.values()):
            replica.adopt()
        self._balance()

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def endpoint_id(self) -> str:
        return self._record.endpoint_id

    # What control asks for

    def apply(self, replica_set: ReplicaSet) -> None:
        """Make it so. OSError, and nothing done, if it cannot be written down."""
        before, known = self._record, self._applied
        different = (
            known is None
            or (known.launch, known.instance) != (replica_set.launch, replica_set.instance)
            or before.n != replica_set.n
        )
        record = replace(
            before,
            n=replica_set.n,
            removing=False,
            halted=before.halted and not different,
            limits=limits(replica_set.instance, self._site.machine, self._site.rung),
        )
        if before.removing:
            record = replace(record, halted=False, failed_starts=0, ends=0, next_start_at=0.0, last_exit=None)
        if record != before or known is None:
            self._folder.save(record)
            self._site.changed()
        self._record, self._applied = record, replica_set
        self._balance()

    def remove(self, grace: float) -> None:
        """Drain all within `grace` seconds, then be gone."""
        if not self._record.removing:
            self._change(removing=True, n=0)
        for replica in tuple(self.replicas.values()):
            replica.stop(grace)
        self._balance()

    def seen(self) -> SeenReplicaSet:
        record = self._record
        kept = sum(not replica.leaving for replica in self.replicas.values())
        return SeenReplicaSet(
            id=record.id,
            endpoint_id=record.endpoint_id,
            revision=record.revision,
            n=kept if self._applied is None else record.n,
            replicas=tuple(replica.seen() for replica in self.replicas.values()),
            failed_starts=record.failed_starts,
            ends=record.ends,
            last_exit=record.last_exit,
            limits=record.limits,
        )

    def let_go(self) -> None:
        """Stop looking; all processes go on."""
        for timer in (self._start_timer, *self._settle_timers.values()):
            if timer is not None:
                timer.cancel()
        for replica in self.replicas.values():
            replica.let_go()

    # What happens

    def _replica_changed(self, replica: Replica) -> None:
        if replica.phase is not Phase.RUNNING:
            self._forget_settling(replica)
        elif replica.id not in self._settle_timers:  # it became ready just now
            self._hindered = 0
            if self._record.failed_starts:
                self._change(failed_starts=0)
            self._settle_timers[replica.id] = asyncio.get_running_loop().call_later(
                self._site.timing.settle, self._settled, replica
            )
        self._site.changed()
        self._balance()  # one that drains by itself is replaced at once

    def _settled(self, replica: Replica) -> None:
        if replica.phase is Phase.RUNNING and self._record.ends:
            self._change(ends=0, next_start_at=0.0)
            self._site.changed()

    def _forget_settling(self, replica: Replica) -> None:
        timer = self._settle_timers.pop(replica.id, None)
        if timer is not None:
            timer.cancel()

    def _replica_ended(self, replica: Replica, exit_: Exit) -> None:
        del self.replicas[replica.id]
        self._forget_settling(replica)
        if exit_.kind is ExitKind.NOT_STARTED:
            self._hindered_by(exit_)
        elif exit_.kind is not ExitKind.STOPPED:
            self._failed(exit_, replica.ready_since)
        self._site.changed()
        self._balance()

    def _failed(self, exit_: Exit, ready_since: float | None) -> None:
        """Start another after a pause. One that was never ready is a failed start; of those only so many are allowed."""
        lasted = ready_since is not None and time.monotonic() - ready_since >= self._site.timing.settle
        ends = 0 if lasted else self._record.ends + 1
        failed_starts = self._record.failed_starts + (ready_since is None)
        # Not the message: it carries the replica's own output.
        _log.warning(
            "replica ended",
            replica_set=self.id,
            kind=exit_.kind.value,
            code=exit_.code,
            failed_starts=failed_starts,
            ends=ends,
        )
        self._change(
            last_exit=exit_,
            failed_starts=failed_starts,
            ends=ends,
            next_start_at=time.time() + backoff(ends, self._site.timing.longest_backoff),
            halted=self._record.halted or exit_.kind is ExitKind.CONFIGURATION,
        )

    def _hindered_by(self, exit_: Exit) -> float:
        """A start that the machine prevented: how many seconds until the next, which would fail at once as well."""
        self._hindered += 1
        wait = backoff(self._hindered + 1, self._site.timing.longest_backoff)
        _log.warning("start prevented", replica_set=self.id, error=exit_.message, retry_in=wait)
        self._change(last_exit=exit_, next_start_at=time.time() + wait)
        return wait

    def _change(self, **values: object) -> None:
        """Change the record in memory and on disk; a disk that is full costs only what a restart would remember."""
        self._record = replace(self._record, **values)  # type: ignore[arg-type] # names and types are the caller's
        try:
            self._folder.save(self._record)
        except OSError as error:
            _log.warning("replica set not written", replica_set=self.id, error=str(error))

    # Making it so

    def _balance(self) -> None:
        """Start what is missing, as soon as the back-off allows, and stop what is too much."""
        if self._record.removing:
            if not self.replicas:
                self._gone()
            return
        staying = [replica for replica in self.replicas.values() if not replica.leaving]
        surplus = len(staying) - self._record.n
        if surplus > 0:
            for replica in sorted(staying, key=_worth)[:surplus]:
                replica.stop(self._site.drain_seconds)
        elif surplus < 0 and self._applied is not None and not self._record.halted:
            self._start(-surplus, self._applied)

    def _start(self, count: int, applied: ReplicaSet) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None
        # A clock that was set back must not lengthen the wait.
        wait = min(self._record.next_start_at - time.time(), self._site.timing.longest_backoff)
        if wait > 0:
            self._start_timer = asyncio.get_running_loop().call_later(wait, self._balance)
            return
        for _ in range(count):
            replica_id = f"{self.id}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"
            try:
                self.replicas[replica_id] = Replica.start(
                    self._site,
                    self._folder.replica(replica_id),
                    replica_id,
                    self.endpoint_id,
                    applied.launch,
                    allot(applied.instance, self._site.machine),
                    on_change=self._replica_changed,
                    on_end=self._replica_ended,
                )
            except OSError as error:
                words = f"The replica could not be started: {_words(error)}"
                wait = self._hindered_by(Exit(ExitKind.NOT_STARTED, words))
                self._start_timer = asyncio.get_running_loop().call_later(wait, self._balance)
                break
        self._site.changed()

    def _gone(self) -> None:
        self.let_go()
        (self._folder.path / "set.json").unlink(missing_ok=True)
        # A replica that has just ended still clears its folder away, and then this one with it.
        with contextlib.suppress(OSError):
            self._folder.path.rmdir()
        self._on_gone(self)


def _words(error: OSError) -> str:
    """What failed, and at which file."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror}"


def _worth(replica: Replica) -> tuple[bool, float]:
    """Sorts the replica that is missed least to the front: one that is not ready, then the youngest."""
    return (replica.phase is Phase.RUNNING, -replica.created_at)
