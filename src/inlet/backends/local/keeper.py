"""The keeper: a tiny process that starts one replica, holds its pipes, and writes down how it ended.

Started by `replica.py` as `python -I -S keeper.py` with a `Plan` as JSON on standard input, in a session of its own. It
depends on nobody: when control dies it goes on, and when it dies itself the kernel kills the replica. Standard library
only, and only the cheap parts of it, because one runs beside every replica; one file, because it runs without this
package on its path. `processes` and `identity` are also used by control. Must never write an environment variable's
value anywhere, but for the replica's id.

`pool.py` starts it as `python -I -S keeper.py --spare COMMAND…` with a socket as standard input: then it starts COMMAND,
whatever replica that will be, and waits. One byte on the socket brings the plan as a file; from then on there is no
difference. If the socket is closed first, both end. COMMAND must say that it has its orders, or another process is started.

In the replica's folder it writes `keeper.json` (who it is, before the replica exists) and `exit.json` (how the replica
ended, as its last act). SIGTERM drains the replica; the file `stop`, if there, says how many seconds that may take.
"""
# pathlib takes longer to import than all the rest here.
# ruff: noqa: PTH105, PTH106, PTH110, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False  # typing takes long to import as well
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINE_BYTES = 8192
LAST_LINES = 20
TERMINATION_BYTES = 4096
NOT_STARTED = 75  # exit status of a keeper whose replica never began: EX_TEMPFAIL of sysexits.h
ERRORS = "keeper.err"  # in the replica's folder: what a keeper itself complains about
RESERVED_BYTES = 65_536  # on the disk, for how the replica ended: it may be full by then
POKE_EVERY_S = 0.1  # at most one datagram about new output in this time
# Between looks at memory that no group limits (no event tells of it), by how soon the limit could be reached.
WATCH_SHORTEST_S, WATCH_LONGEST_S = 0.05, 2.0
FILL_RATE = 2 * 2**30  # bytes a second, by one CPU
LEFTOVERS_S = 5.0
ALARM_S = 2.0  # after the alarm of a full group: until when one of its processes would have been killed
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STREAMS = ("stdout", "stderr")
SPARE = "--spare"
HUNG = b"Inlet: the process that waited to become this replica did not answer, so another one was started\n"
# What a spare leaves room for, in bytes, so that the process table can show whose it is once that is known.
COMMAND_ROOM, ID_ROOM = 4096, 200
ID_VARIABLE = "INLET_REPLICA_ID"


class Plan:
    """All that a keeper needs. `enter` are files that take a process id (cgroup.procs); sizes in bytes.

    `data_limit` becomes RLIMIT_DATA; `watched_memory` is what the whole process tree may hold before the keeper kills
    it; `events` a cgroup file with an `oom_kill` counter; `spare_answers` how many seconds a spare may take to say that
    it has this.
    """

    def __init__(
        self,
        *,
        replica_id: str, folder: str, command: list[str], env: dict[str, str],
        notify: str, log: str, log_bytes: int, grace: float, spare_answers: float,
        enter: list[str], events: str | None,
        data_limit: int | None, watched_memory: int | None, cpus: list[int],
    ) -> None:  # fmt: skip
        self.replica_id, self.folder, self.command, self.env = replica_id, folder, command, env
        self.notify, self.log, self.log_bytes, self.grace = notify, log, log_bytes, grace
        self.spare_answers, self.enter, self.events = spare_answers, enter, events
        self.data_limit, self.watched_memory, self.cpus = data_limit, watched_memory, cpus


class Process:
    """One line of the process table: CPU time in clock ticks (waited-for children included)."""

    __slots__ = ("parent", "start", "state", "ticks")

    def __init__(self, stat: bytes) -> None:
        # The command's name, in parentheses, may itself hold spaces and parentheses.
        fields = stat[stat.rindex(b")") + 2 :].split()
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.ticks = sum(int(field) for field in fields[11:15])
        self.start = int(fields[19])


def keeper_command(*arguments: str) -> list[str]:
    """The command line of a keeper."""
    return [sys.executable, "-I", "-S", __file__, *arguments]


def process(pid: int) -> Process | None:
    """That process as it is now, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return Process(file.read())
    except (OSError, ValueError):
        return None


def processes() -> dict[int, Process]:
    """The process table, by process id."""
    found = ((int(name), process(int(name))) for name in os.listdir("/proc") if name.isdigit())
    return {pid: entry for pid, entry in found if entry is not None}


def descendants(root: int, table: dict[int, Process]) -> set[int]:
    """Children of `root`, their children and so on, without `root`."""
    children: dict[int, list[int]] = {}
    for pid, entry in table.items():
        children.setdefault(entry.parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def family(root: int) -> set[int]:
    """The same as `descendants` at a tenth of its cost, but it may miss one while another ends: never kill by it."""
    found: set[int] = set()
    waiting = [root]
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):  # a kernel without these files
        return descendants(root, processes())
    while waiting:
        folder = f"/proc/{waiting.pop()}/task"
        try:
            for thread in os.listdir(folder):
                with open(f"{folder}/{thread}/children", "rb") as file:
                    children = {int(pid) for pid in file.read().split()}
                waiting += children - found
                found |= children
        except OSError:
            continue  # it has ended
    return found


def held(pids: set[int], limit: int) -> int:
    """Bytes of memory that these processes hold and that cannot be dropped: files that are mapped can.

    What several of them share counts once, but that is costly to find out: only done when the sum is over the limit.
    """
    total = sum(_sizes(pid, "status", (b"RssAnon:", b"RssShmem:", b"VmSwap:")) for pid in pids)
    if total <= limit:
        return total
    return sum(_sizes(pid, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:")) for pid in pids)


def _sizes(pid: int, file: str, names: tuple[bytes, ...]) -> int:
    """The sum of these lines of one of a process's files, in bytes; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/{file}", "rb") as lines:
            return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
    except OSError:
        return 0


def identity(pid: int) -> str | None:
    """A name that no other process ever has: boot, process id and start time; None if it does not run (any more)."""
    entry = process(pid)
    if entry is None or entry.state in "ZX":
        return None
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()}:{pid}:{entry.start}"


def write_whole(path: str, document: object) -> None:
    """JSON, visible under its name only when complete."""
    with open(f"{path}.new", "w") as file:
        json.dump(document, file)
    os.replace(f"{path}.new", path)


def reserve(path: str) -> None:
    """Take room on the disk for `write_reserved`."""
    with open(f"{path}.reserved", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)


def write_reserved(path: str, document: object) -> None:
    """As `write_whole`, in the room that was reserved; OSError if it does not suffice."""
    data = json.dumps(document).encode()
    if len(data) > RESERVED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with open(f"{path}.reserved", "r+b", buffering=0) as file:
        file.write(data)
        file.truncate(len(data))
    os.replace(f"{path}.reserved", path)


class Output:
    """The replica's two streams as one file of lines `SECONDS STREAM TEXT`, with one older file beside it.

    A line is at most LINE_BYTES long; a longer one becomes several. Of a line that was rewritten with carriage returns
    (progress bars) the last state is kept. A disk that is full loses lines and never blocks the replica; once there is
    room again, a line in their place says how many were lost, and why. `losing` is the reason as long as it lasts.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._fd = -1
        self._size = 0
        self._partial = dict.fromkeys(_STREAMS, b"")
        self._lost = 0
        self.losing = ""
        self.last: list[str] = []

    def feed(self, stream: str, data: bytes) -> None:
        """Take what was read from one stream."""
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        while len(rest) > LINE_BYTES:
            lines.append(rest[:LINE_BYTES])
            rest = rest[LINE_BYTES:]
        self._partial[stream] = rest
        for line in lines:
            self._line(stream, line)

    def finish(self) -> None:
        """Write what is left without a line end."""
        for stream, rest in self._partial.items():
            if rest:
                self._line(stream, rest)

    def _line(self, stream: str, line: bytes) -> None:
        text = line.rstrip(b"\r").rpartition(b"\r")[2]
        for start in range(0, max(len(text), 1), LINE_BYTES):
            piece = text[start : start + LINE_BYTES]
            self.last = [*self.last[1 - LAST_LINES :], piece.decode(errors="replace")]
            self._keep(b"%.6f %s %s\n" % (time.time(), stream.encode(), piece))

    def _keep(self, line: bytes) -> None:
        if self._lost:
            words = f"Inlet: lines that were lost here: {self._lost} ({self.losing})"
            line = b"%.6f stderr %s\n" % (time.time(), words.encode()) + line
        try:
            self._write(line)
            self._lost, self.losing = 0, ""
        except OSError as error:
            # No space, or the endpoint's logs were dropped: the line is lost, the replica goes on.
            self._lost += 1
            self.losing = error.strerror or type(error).__name__

    def _write(self, line: bytes) -> None:
        """The whole line, or OSError and nothing of it."""
        if self._fd >= 0 and self._size + len(line) > self._limit:
            os.close(self._fd)
            self._fd = -1
            os.replace(self._path, f"{self._path}.1")
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
        written = os.write(self._fd, line)
        if written < len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written


def prctl(option: int, value: int) -> None:
    """The system call of that name, for this process."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def confine(pid: int, plan: Plan) -> None:
    """Put a process under the replica's limits; OSError if this machine does not let us."""
    for path in plan.enter:
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, str(pid).encode())
        os.close(fd)
    if plan.data_limit is not None:
        resource.prlimit(pid, resource.RLIMIT_DATA, (plan.data_limit, plan.data_limit))
    if plan.cpus:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), plan.cpus)


def relabel(pid: int, command: list[str], replica_id: str) -> None:
    """Let the process table show a process with this command line and replica id, as far as it was left room for them.

    What the process itself thinks that they are stays as it is. OSError if this machine does not let us.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    arguments, arguments_end, variables, variables_end = (int(field) for field in fields[45:49])
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        words = b"\0".join(word.encode(errors="surrogateescape") for word in command)
        room = arguments_end - arguments
        memory.seek(arguments)
        memory.write(words[: room - 1].ljust(room, b"\0"))
        mark = f"{ID_VARIABLE}=".encode()
        memory.seek(variables)
        place = memory.read(variables_end - variables).find(mark)
        if place < 0:
            raise OSError(errno.ESRCH, "the process has ended")
        memory.seek(variables + place + len(mark))
        memory.write(replica_id.encode().ljust(ID_ROOM, b"\0"))


class Child:
    """The process that is, or will be, the replica. `streams` are the reading ends of its output, by descriptor."""

    def __init__(self, become: Callable[[], None], stdin: int | None = None) -> None:
        """Fork, and let the child call `become`, which ends in an exec; `stdin` is a descriptor, by default of nothing."""
        self.streams: dict[int, str] = {}
        ends = []
        for stream in _STREAMS:
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read, False)
            self.streams[read] = stream
            ends.append(write)
        keeper = os.getpid()
        # A SIGTERM that we pass on must wait until the child can die of it: our handler would swallow it there.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin, 0)
                os.dup2(ends[0], 1)
                os.dup2(ends[1], 2)
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == keeper:
                    become()
            except OSError as error:
                os.write(2, f"The replica could not be started: {error}\n".encode())
            finally:
                os._exit(127)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        for write in ends:
            os.close(write)


def execute(command: list[str], env: Mapping[str, str]) -> None:
    """Become `command`, with signals as a fresh process has them; OSError if that cannot be."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    os.execvpe(command[0], command, env)  # noqa: S606


class Spare:
    """A child that was started before anybody knows what for; it waits at its standard input, as we do at ours."""

    def __init__(self, command: list[str]) -> None:
        """Start it; OSError if this machine does not let us, or would not later."""
        self._orders, theirs = socket.socketpair()
        executed, executing = os.pipe2(os.O_CLOEXEC)
        room = " " * COMMAND_ROOM
        self.child = Child(lambda: execute([*command, room], os.environ), stdin=theirs.fileno())
        theirs.close()
        os.close(executing)
        os.read(executed, 1)  # nothing comes: the exec closes the other end
        os.close(executed)
        relabel(self.child.pid, command, "")
        self._plan = -1

    def wait(self) -> Plan | None:
        """The plan, once it comes; None if nobody can send one any more, or the child has ended."""
        control = socket.socket(fileno=0)
        child = os.pidfd_open(self.child.pid)
        poll = select.poll()
        for awaited in (control.fileno(), child):
            poll.register(awaited, select.POLLIN)
        if control.fileno() not in dict(poll.poll()):
            return None
        os.close(child)
        _, files, _, _ = socket.recv_fds(control, 1, 1)
        if not files:
            return None
        (self._plan,) = files
        with open(self._plan, "rb", closefd=False) as file:
            return Plan(**json.load(file))

    def show(self, plan: Plan) -> None:
        """Look like the keeper and the replica of this plan; OSError if this machine does not let us."""
        errors = os.open(os.path.join(plan.folder, ERRORS), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(errors, 2)
        os.close(errors)
        relabel(os.getpid(), keeper_command(plan.replica_id), plan.replica_id)
        relabel(self.child.pid, plan.command, plan.replica_id)

    def engage(self, plan: Plan) -> Child | None:
        """Let the child be the replica of this plan; None, and it is killed, if it hangs or has ended."""
        confine(self.child.pid, plan)
        try:
            socket.send_fds(self._orders, [b"\0"], [self._plan])
            self._orders.settimeout(plan.spare_answers)
            answered = self._orders.recv(1)
        except OSError:
            answered = b""
        self._orders.close()
        os.close(self._plan)
        if answered:
            return self.child
        os.kill(self.child.pid, signal.SIGKILL)
        for stream in self.child.streams:
            os.close(stream)
        return None


class Keeper:
    """One replica, from before its first instruction to after its last."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._output = Output(plan.log, plan.log_bytes)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._poll = select.poll()
        self._pipes: dict[int, str] = {}
        self._child = 0
        self._wake = -1  # readable after a signal
        self._status: int | None = None
        self._terminations = self._handled = 0  # SIGTERMs
        self._kill_at: float | None = None
        self._overrun = self._too_big = self._news = False
        self._alarm = -1  # readable when a group of version 1 is out of memory
        self._watch_at = self._poked_at = self._alarmed_until = 0.0

    def start(self, spare: Spare | None = None) -> None:
        """Start the replica, in the process that is there already if there is one that answers; OSError if it cannot be."""
        # Processes that the replica leaves behind become ours, so that they can be ended.
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        self._poll.register(wake, select.POLLIN)
        self._listen()
        self._wake = wake
        child = None
        if spare is not None:
            child = spare.engage(self._plan)
            if child is None:
                self._output.feed("stderr", HUNG)
        if child is None:
            child = Child(self._become)
        self._child, self._pipes = child.pid, child.streams
        for stream in self._pipes:
            self._poll.register(stream, select.POLLIN)

    def run(self) -> None:
        """Serve the replica until its end, write down how it ended."""
        while self._status is None:
            self._round(self._wake)
        self._end_leftovers(self._wake)
        deadline = time.monotonic() + 1.0
        while self._pipes:
            self._round(self._wake)  # at least one, however late it is: it reads all that a pipe holds
            if time.monotonic() >= deadline:
                break
        self._output.finish()
        self._write_exit(self._status)
        self._leave_groups()
        self._poke()

    def _on_term(self, *_: object) -> None:
        self._terminations += 1

    def _listen(self) -> None:
        """Ask for an event when the group is out of memory: version 1 kills one process, and the rest must go with it.

        Version 2 is told to kill the whole group (`cgroups.py`) and has no such file.
        """
        if self._plan.events is None:
            return
        group = os.path.dirname(self._plan.events)
        try:
            control = os.open(os.path.join(group, "cgroup.event_control"), os.O_WRONLY)
        except OSError:
            return
        alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        watched = os.open(self._plan.events, os.O_RDONLY)
        try:
            os.write(control, f"{alarm} {watched}".encode())
        except OSError:
            os.close(alarm)  # kernels may be built without these events: the counter still names the reason
        else:
            self._alarm = alarm
            self._poll.register(alarm, select.POLLIN)
        os.close(watched)
        os.close(control)

    def _become(self) -> None:
        """In the child: take on limits, then become the replica."""
        confine(os.getpid(), self._plan)
        os.chdir(os.path.join(self._plan.folder, "work"))
        execute(self._plan.command, self._plan.env)

    def _round(self, wake: int) -> None:
        for fd, _ in self._poll.poll(self._timeout() * 1000):
            if fd == wake:
                os.read(wake, 4096)
            elif fd == self._alarm:
                os.eventfd_read(fd)
                self._alarmed_until = time.monotonic() + ALARM_S
            else:
                self._read(fd)
        self._drain()
        self._check_alarm()
        self._watch()
        self._reap()
        if self._news and time.monotonic() - self._poked_at >= POKE_EVERY_S:
            self._poke()

    def _timeout(self) -> float:
        now = time.monotonic()
        waits = [60.0]
        if self._kill_at is not None:
            waits.append(self._kill_at - now)
        if self._plan.watched_memory is not None:
            waits.append(self._watch_at - now)
        if self._alarmed_until:
            waits.append(WATCH_SHORTEST_S)
        if self._news:
            waits.append(self._poked_at + POKE_EVERY_S - now)
        if self._status is not None:
            waits.append(0.05)
        return max(0.001, min(waits))

    def _read(self, fd: int) -> None:
        data = os.read(fd, 65536)
        if data:
            self._output.feed(self._pipes[fd], data)
            self._news = True
        else:
            self._poll.unregister(fd)
            os.close(fd)
            del self._pipes[fd]

    def _drain(self) -> None:
        """Pass a SIGTERM on; the earliest deadline of all that were asked for counts."""
        now = time.monotonic()
        if self._handled < self._terminations and self._status is None:
            self._handled = self._terminations
            kill_at = now + self._grace()
            self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
            os.kill(self._child, signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at and self._status is None:
            self._overrun = True
            self._kill_at = now + 1.0
            self._kill_all()

    def _grace(self) -> float:
        told = self._text("stop", 64)
        return float(told) if told else self._plan.grace  # without it the signal came from somebody else

    def _check_alarm(self) -> None:
        """End what is left of the replica, if it was meant: when a group above is full, all groups below are alarmed."""
        if not self._alarmed_until:
            return
        last = time.monotonic() >= self._alarmed_until  # asked first: however late it is, there is one look
        lost = self._lost_one()
        if lost or last:
            self._alarmed_until = 0.0
        if lost:
            self._end_too_big()

    def _watch(self) -> None:
        limit = self._plan.watched_memory
        if limit is None or time.monotonic() < self._watch_at:
            return
        left = limit - held(family(os.getpid()), limit)
        if left < 0:
            self._end_too_big()
        # A replica that is far from its limit cannot reach it at once, and is left alone for so long.
        cpus = len(self._plan.cpus) or os.cpu_count() or 1
        pause = min(WATCH_LONGEST_S, max(WATCH_SHORTEST_S, left / (FILL_RATE * cpus)))
        self._watch_at = time.monotonic() + pause

    def _end_too_big(self) -> None:
        self._too_big = True
        self._kill_all()

    def _kill_all(self) -> None:
        for pid in descendants(os.getpid(), processes()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _reap(self) -> bool:
        """Take the status of every process that has ended; False when there is none left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child:
                self._status = status

    def _end_leftovers(self, wake: int) -> None:
        deadline = time.monotonic() + LEFTOVERS_S
        while self._reap() and time.monotonic() < deadline:
            self._kill_all()
            self._round(wake)

    def _lost_one(self) -> bool:
        """Whether the kernel killed a process of the group for want of memory."""
        words = [] if self._plan.events is None else self._text(self._plan.events, 4096).split()
        return "oom_kill" in words and int(words[words.index("oom_kill") + 1]) > 0

    def _text(self, path: str, most: int) -> str:
        """At most so many bytes of a file, in the replica's folder unless the path is absolute; empty if there is none."""
        try:
            with open(os.path.join(self._plan.folder, path), "rb") as file:
                return file.read(most).decode(errors="replace").strip()
        except OSError:
            return ""

    def _write_exit(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        path = os.path.join(self._plan.folder, "exit.json")
        document = {
            "at": time.time(),
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "out_of_memory": self._too_big or self._lost_one(),
            "asked": self._handled > 0,
            "overrun": self._overrun,
            "termination": self._text("termination.log", TERMINATION_BYTES),
            "last_lines": self._output.last,
        }
        try:
            write_whole(path, document)
        except OSError:  # the disk is full: how it ended fits into what was reserved, if not all that it said
            write_reserved(path, {**document, "last_lines": [line[:500] for line in self._output.last[-5:]]})

    def _leave_groups(self) -> None:
        """Remove the groups if nothing is left in them: there may be no control now, or ever again, that does it."""
        for path in self._plan.enter:
            try:
                os.rmdir(os.path.dirname(path))
            except OSError:
                continue

    def _poke(self) -> None:
        """Tell control that there is something to read in the log; a hint, so losing one does no harm."""
        self._news = False
        self._poked_at = time.monotonic()
        lost = f"\nLOST={self._output.losing}" if self._output.losing else ""
        try:
            self._socket.sendto(
                f"INLET_REPLICA_ID={self._plan.replica_id}\nLOG=1{lost}".encode(), self._plan.notify
            )
        except OSError:
            return


def main() -> None:
    """Leave the caller's session, learn the plan, say who we are, keep the replica."""
    os.setsid()
    os.closerange(3, 65536)  # whatever control had open by mistake must not stay open with us
    spare = None
    try:
        if sys.argv[1:2] == [SPARE]:
            spare = Spare(sys.argv[2:])
            plan = spare.wait()
            if plan is None:
                os._exit(NOT_STARTED)
            spare.show(plan)
        else:
            plan = Plan(**json.load(sys.stdin))
        # Fails, and ends this process, if control gave up on this replica before we came to life.
        write_whole(
            os.path.join(plan.folder, "keeper.json"), {"pid": os.getpid(), "identity": identity(os.getpid())}
        )
        reserve(os.path.join(plan.folder, "exit.json"))
        keeper = Keeper(plan)
        keeper.start(spare)
    except OSError as error:
        try:
            os.write(2, f"{error.strerror}\n".encode())
        finally:  # our standard error is a file on the same disk
            os._exit(NOT_STARTED)
    keeper.run()


if __name__ == "__main__":
    main()
