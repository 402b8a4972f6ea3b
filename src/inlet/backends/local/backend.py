"""The local backend: replicas as detached processes on this machine. The verbs of `backends/base.py`.

Called by `control/`. Delegates: one `Supervisor` per replica set, which owns `Replica`s, each of them a `keeper` process.
Nothing that runs depends on this process: it can be killed at any point, and the next `start` on the same home adopts
what is on record and kills what is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from inlet import process
from inlet.backends.base import Launch, LogLine, ReplicaSet
from inlet.backends.local import cgroups
from inlet.backends.local.command import Command, runtime_command
from inlet.backends.local.limits import find_rung, fits, machine
from inlet.backends.local.logs import Logs
from inlet.backends.local.notify import NotifySocket
from inlet.backends.local.pool import Pool
from inlet.backends.local.records import SetFolder, SetRecord
from inlet.backends.local.replica import Replica
from inlet.backends.local.site import Site, Timing, notify_socket, socket_folder, subtree_name
from inlet.backends.local.strays import kill_processes_except
from inlet.backends.local.supervisor import Supervisor
from inlet.backends.local.usage import CpuMeter
from inlet.backends.processes import process_of
from inlet.core.catalogue import CATALOGUE, Availability, Instance
from inlet.core.errors import BackendUnavailable, Invalid, Refused
from inlet.core.seen import SeenReplicaSet, gigabytes

_LOG_BYTES = 5_000_000
_BEYOND_GRACE_S = 5.0


class LocalBackend:
    """State lies below `home`, sockets in `run_dir`, models in `cache`, artifacts in `artifacts`
    (without it replicas check and keep none); a replica drains for `drain_seconds`.

    `warm_pool` processes wait to become the next replicas.
    """

    def __init__(
        self,
        *,
        home: Path,
        run_dir: Path,
        cache: Path,
        artifacts: Path | None = None,
        drain_seconds: float,
        strict_instances: bool,
        command: Command = runtime_command,
        timing: Timing = Timing(),  # noqa: B008 - an immutable value
        log_bytes: int = _LOG_BYTES,
        warm_pool: int = 0,
    ) -> None:
        """Nothing is touched before `start`."""
        self._home = home
        self._run_dir = run_dir
        self._cache = cache
        self._artifacts = artifacts
        self._drain_seconds = drain_seconds
        self._strict = strict_instances
        self._command = command
        self._timing = timing
        self._log_bytes = log_bytes
        self._warm_pool = warm_pool
        self._machine = machine()
        self._site: Site | None = None
        self._notify: NotifySocket | None = None
        self._lock = -1
        self._supervisors: dict[str, Supervisor] = {}
        self._empty = asyncio.Event()
        self._logs = Logs(home / "logs")
        self._meter = CpuMeter()

    # Verbs

    async def start(self, on_change: Callable[[], None]) -> None:
        """Adopt, clean up, and look at every adopted replica once: the first observation is already a true one."""
        for folder in (self._home / "replicas", self._home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = await asyncio.to_thread(_lock, self._home / "replicas" / "lock")

        def changed() -> None:
            self._logs.news_everywhere()
            on_change()

        try:
            sockets = socket_folder(self._home, self._run_dir)
            site = self._site = Site(
                home=self._home,
                sockets=sockets,
                cache=self._cache,
                artifacts=self._artifacts,
                drain_seconds=self._drain_seconds,
                log_bytes=self._log_bytes,
                timing=self._timing,
                command=self._command,
                pool=Pool(
                    self._warm_pool,
                    notify=notify_socket(sockets),
                    memory=self._machine.memory,
                    delay=self._timing.refill,
                ),
                rung=await asyncio.to_thread(find_rung, subtree_name(self._home)),
                machine=self._machine,
                changed=changed,
            )
            self._notify = NotifySocket(site.notify, self._hear)
            self._notify.open()
            self._adopt(site)
            adopted = tuple(self._replicas())
            await asyncio.to_thread(self._sweep, site, adopted)
            known = {group for replica in adopted for group in replica.groups}
            site.spawn(cgroups.remove_all(site.rung.strays(known)))
            site.pool.open()
            await asyncio.gather(*(replica.probed.wait() for replica in self._replicas()))
        except BaseException:  # whatever it was: the next attempt must not find the home locked by this one
            await self.stop(keep_replicas=True)
            raise
        on_change()

    async def stop(self, *, keep_replicas: bool) -> None:
        if self._site is not None:
            await self._site.pool.close()
            if not keep_replicas:
                await self._stop_replicas()
            for supervisor in self._supervisors.values():
                supervisor.let_go()
            self._supervisors.clear()
            await self._site.finish()
            if self._notify is not None:
                self._notify.close()
            self._site.rung.close()
            self._site = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def apply(self, replica_set: ReplicaSet) -> None:
        site = self._started()
        self._refuse_what_cannot_be(replica_set.instance, replica_set.launch)
        supervisor = self._supervisors.get(replica_set.id)
        if supervisor is None:
            record = SetRecord(replica_set.id, replica_set.endpoint_id, replica_set.revision, n=0)
            supervisor = Supervisor(site, record, self._gone)
        try:
            supervisor.apply(replica_set)
        except OSError as error:
            raise BackendUnavailable(f"The state of replicas cannot be written: {error.strerror}") from error
        self._supervisors[replica_set.id] = supervisor

    async def remove(self, replica_set_id: str, *, grace: float) -> None:
        self._started()
        supervisor = self._supervisors.get(replica_set_id)
        if supervisor is not None:
            supervisor.remove(grace)

    async def observe(self) -> Sequence[SeenReplicaSet]:
        self._started()
        await self._meter.update(tuple(self._replicas()))
        return tuple(supervisor.seen() for supervisor in self._supervisors.values())

    async def catalogue(self) -> Sequence[Instance]:
        """Every CPU row can be had; one that is larger than the machine cannot where instances are strict."""
        return tuple(
            row if self._available(row) else replace(row, status=Availability.NOT_AVAILABLE)
            for row in CATALOGUE
        )

    def logs(
        self, endpoint_id: str, *, replica_id: str | None, tail: int | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        return self._logs.read(
            endpoint_id,
            replica_id=replica_id,
            tail=tail,
            follow=follow,
            alive=lambda name: any(name in supervisor.replicas for supervisor in self._supervisors.values()),
        )

    async def forget(self, endpoint_id: str) -> None:
        await self._logs.forget(endpoint_id)

    # Parts

    def _started(self) -> Site:
        if self._site is None:
            raise BackendUnavailable("The local backend is not started")
        return self._site

    def _replicas(self) -> list[Replica]:
        return [replica for each in self._supervisors.values() for replica in each.replicas.values()]

    def _available(self, row: Instance) -> bool:
        return row.accelerator == "cpu" and (not self._strict or fits(row, self._machine))

    def _refuse_what_cannot_be(self, instance: Instance, launch: Launch) -> None:
        try:
            process_of(launch.image_kind, launch.image_settings, launch.command, launch.args)
        except Invalid as error:
            raise Refused(str(error)) from error
        if instance.accelerator != "cpu":
            raise Refused(
                f"there is no {instance.architecture} on this machine: use a CPU instance",
                field="compute.accelerator",
            )
        if self._strict and not fits(instance, self._machine):
            raise Refused(
                f"{instance.type} {instance.size} is larger than this machine "
                f"({self._machine.vcpus:g} vCPU, {gigabytes(self._machine.memory)}): choose a smaller one, or unset "
                "INLET_STRICT_INSTANCES to get what there is",
                field="compute.instanceSize",
            )

    def _hear(self, replica_id: str, fields: Mapping[str, str]) -> None:
        for supervisor in self._supervisors.values():
            if replica_id in supervisor.replicas:
                if "LOG" in fields:
                    supervisor.replicas[replica_id].loses_log(fields.get("LOST", ""))
                    self._logs.news(supervisor.endpoint_id)
                else:
                    supervisor.replicas[replica_id].hear(fields)

    def _gone(self, supervisor: Supervisor) -> None:
        self._supervisors.pop(supervisor.id, None)
        site = self._started()
        site.changed()
        site.spawn(asyncio.to_thread(self._logs.prune, {replica.id for replica in self._replicas()}))
        if not self._supervisors:
            self._empty.set()

    async def _stop_replicas(self) -> None:
        """Drain all at once; what is still there after the grace is killed."""
        self._empty.clear()
        for supervisor in tuple(self._supervisors.values()):
            supervisor.remove(self._drain_seconds)
        for limit in (self._drain_seconds + _BEYOND_GRACE_S, _BEYOND_GRACE_S):
            if self._supervisors:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await self._empty.wait()
            for replica in self._replicas():
                replica.kill()

    def _adopt(self, site: Site) -> None:
        for path in sorted((self._home / "replicas").iterdir()):
            record = SetFolder(path).load() if path.is_dir() else None
            if record is not None and record.id == path.name:
                self._supervisors[record.id] = Supervisor(site, record, self._gone)
                self._supervisors[record.id].adopt()

    def _sweep(self, site: Site, adopted: tuple[Replica, ...]) -> None:
        """Whatever carries our marks and was not adopted: processes, folders, sockets, old logs. Blocks."""
        kill_processes_except(site.notify, {replica.id for replica in adopted})
        for path in (self._home / "replicas").iterdir():
            if path.is_dir() and path.name not in self._supervisors:
                shutil.rmtree(path, ignore_errors=True)
        sockets = {site.socket(replica.id) for replica in adopted}
        for path in site.sockets.glob("r-*.sock"):
            if path not in sockets:
                path.unlink(missing_ok=True)
        self._logs.prune({replica.id for replica in adopted})


def _lock(path: Path) -> int:
    """The open file; `BackendUnavailable` while somebody else has it. Blocks for a moment."""
    descriptor = process.lock_file(path, within=process.LOCK_WITHIN_S)
    if descriptor is None:
        raise BackendUnavailable(f"Another Inlet already runs replicas in {path.parent.parent}")
    return descriptor
