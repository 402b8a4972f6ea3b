"""Spares: whoever takes one is as if it had been started for it, and none is there that nobody keeps."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import structlog

from inlet.backends.base import ReplicaSet
from inlet.backends.local import Placement, Timing, runtime_command
from inlet.backends.local.command import SPARE, can_be_spare, environment, spare_environment
from inlet.backends.local.keeper import HUNG, Plan, confine
from inlet.backends.local.pool import LASTED_S, ROOM, Pool
from inlet.core.seen import ExitKind, SeenReplica
from inlet.sample import sample_folder
from tests.backends.conftest import assert_clean, keeper_of, kept, processes_of
from tests.backends.test_adoption import gone
from tests.backends.worlds import FAST, WITHIN_S, LocalWorld, eventually, lines, ready, replica_set

REPOSITORY = Path(__file__).parents[2]
PROMPT = replace(FAST, refill=0.01)


class WarmWorld(LocalWorld):
    """One that keeps a spare, and runs the real thing."""

    def __init__(self, folder: Path, timing: Timing = PROMPT) -> None:
        super().__init__(folder, timing=timing, command=runtime_command, warm_pool=1)

    def spares(self) -> list[psutil.Process]:
        """Those that wait for orders, without their keepers."""
        found = []
        for pid in processes_of(self.folder):
            try:
                process = psutil.Process(pid)
                if [word for word in process.cmdline() if word] == list(SPARE):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def spare(self, other_than: psutil.Process | None = None) -> psutil.Process:
        """The one that waits, or will once it has imported all. Blocks."""

        def another() -> list[psutil.Process]:
            return [each for each in self.spares() if each != other_than]

        eventually(another)
        return another()[0]

    async def until_ready(self) -> SeenReplica:
        return (await self.until(ready("e1-r1")))["e1-r1"].replicas[0]


def served(**env: str) -> ReplicaSet:
    wanted = replica_set(env=env)
    launch = replace(wanted.launch, location=str(sample_folder()), task="feature-extraction")
    return replace(wanted, launch=launch)


@pytest.fixture
async def warm(home: Path) -> AsyncIterator[WarmWorld]:
    made = WarmWorld(home)
    await made.open()
    yield made
    await made.close()
    assert_clean(home)


def replica_process(home: Path) -> psutil.Process:
    (replica_id,) = kept(home)
    (child,) = psutil.Process(keeper_of(home, replica_id)).children()
    return child


async def test_a_replica_takes_the_spare_and_looks_as_if_it_was_started_for_it(
    warm: WarmWorld, home: Path
) -> None:
    spare = await asyncio.to_thread(warm.spare)
    assert "hf_verysecret" not in str(spare.environ())
    await warm.backend.apply(served(HF_TOKEN="hf_verysecret", API_INFERENCE_COMPAT="1"))
    seen = await warm.until_ready()
    replica = replica_process(home)
    assert replica == spare

    words = [word for word in replica.cmdline() if word]
    place = Placement(
        seen.id, Path(seen.address.removeprefix("unix:")), home / "cache",
        Path(replica.cwd()).with_name("termination.log"), home / "run" / "notify.sock",
        warm.backend._supervisors["e1-r1"].replicas[seen.id].vcpus, int(words[words.index("--memory") + 1]),
    )  # fmt: skip
    assert words == list(runtime_command(served().launch, place))
    assert replica.environ()["INLET_REPLICA_ID"] == seen.id
    assert psutil.Process(replica.ppid()).environ()["INLET_REPLICA_ID"] == seen.id
    assert Path(replica.cwd()).parent.name == seen.id
    assert (await asyncio.to_thread(Path(f"/proc/{replica.pid}/fd/0").readlink)) == Path(os.devnull)
    assert await info(seen) == ("feature-extraction", "api"), "flags and environment were read"
    assert "hf_verysecret" not in str(replica.environ())
    for group in warm.backend._supervisors["e1-r1"].replicas[seen.id].groups:
        assert str(replica.pid) in (Path(group) / "cgroup.procs").read_text().split()
    assert any("ready after" in line.line for line in await lines(warm.backend, "e1"))
    assert await asyncio.to_thread(warm.spare) != spare, "another one takes its place"


async def info(replica: SeenReplica) -> tuple[str, str]:
    reader, writer = await asyncio.open_unix_connection(replica.address.removeprefix("unix:"))
    writer.write(b"GET /info HTTP/1.0\r\n\r\n")
    told = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    return told["task"], told["dialect"]


async def test_how_it_ends_is_told_as_ever(warm: WarmWorld, home: Path) -> None:
    spare = await asyncio.to_thread(warm.spare)
    await warm.backend.apply(replica_set())
    seen = await warm.until(lambda seen: seen["e1-r1"].last_exit is not None)
    assert await gone(spare.pid)
    last = seen["e1-r1"].last_exit
    assert (last.kind, last.code) == (ExitKind.CONFIGURATION, 78)
    assert "no folder /models/none" in last.message
    await warm.backend.remove("e1-r1", grace=5)
    await warm.until(lambda seen: not seen)

    spare = await asyncio.to_thread(warm.spare)
    await warm.backend.apply(served())
    await warm.until_ready()
    os.kill(replica_process(home).pid, signal.SIGKILL)
    seen = await warm.until(lambda seen: seen["e1-r1"].last_exit is not None)
    assert seen["e1-r1"].last_exit.message.startswith("Killed by SIGKILL")
    assert await gone(spare.pid)
    await warm.backend.remove("e1-r1", grace=60)
    await warm.until(lambda seen: not seen)


async def test_it_is_adopted_and_drained_as_ever(warm: WarmWorld, home: Path) -> None:
    spare = await asyncio.to_thread(warm.spare)
    await warm.backend.apply(served())
    before = await warm.until_ready()
    await warm.restart(keep_replicas=True)
    assert (await warm.until_ready()).id == before.id
    assert replica_process(home) == spare
    await warm.backend.remove("e1-r1", grace=60)
    await warm.until(lambda seen: not seen)
    assert await gone(spare.pid)


@pytest.mark.parametrize("whom", ["keeper", "spare"])
async def test_a_spare_that_is_killed_is_replaced_after_a_pause_that_grows(
    warm: WarmWorld, whom: str
) -> None:
    spare = None
    with structlog.testing.capture_logs() as told:
        for _ in range(2):
            spare = await asyncio.to_thread(warm.spare, spare)
            os.kill(spare.pid if whom == "spare" else spare.ppid(), signal.SIGKILL)
            assert await gone(spare.pid)
        await asyncio.to_thread(warm.spare, spare)
    pauses = [entry["retry_in"] for entry in told if entry["event"] == "spare process failed"]
    assert pauses == [2 * PROMPT.refill, 4 * PROMPT.refill]


async def test_after_one_that_lasted_the_pause_is_short_again(warm: WarmWorld) -> None:
    spare = await asyncio.to_thread(warm.spare)
    pool = warm.backend._site.pool
    pool._failures = 7
    (known,) = pool._spares
    known.started -= LASTED_S
    with structlog.testing.capture_logs() as told:
        os.kill(spare.pid, signal.SIGKILL)
        await asyncio.to_thread(warm.spare, spare)
    pauses = [entry["retry_in"] for entry in told if entry["event"] == "spare process failed"]
    assert pauses == [2 * PROMPT.refill]


async def test_a_spare_that_hangs_when_it_is_taken_is_given_up_for_a_process_started_now(home: Path) -> None:
    warm = WarmWorld(home, replace(PROMPT, spare_answers=0.1))
    await warm.open()
    spare = await asyncio.to_thread(warm.spare)
    spare.suspend()
    await warm.backend.apply(served())
    seen = await warm.until_ready()
    assert await gone(spare.pid)
    replica = replica_process(home)
    assert replica.environ()["INLET_REPLICA_ID"] == seen.id
    assert any(line.line == HUNG.decode().rstrip() for line in await lines(warm.backend, "e1"))
    await warm.close()
    assert_clean(home)


async def test_code_that_has_changed_meanwhile_is_not_used(warm: WarmWorld, home: Path) -> None:
    spare = await asyncio.to_thread(warm.spare)
    (known,) = warm.backend._site.pool._spares
    known.stamp = known.stamp[:-1]
    await warm.backend.apply(served())
    await warm.until_ready()
    assert replica_process(home) != spare
    assert await gone(spare.pid)


async def test_what_must_be_there_from_the_start_makes_a_fresh_process(warm: WarmWorld, home: Path) -> None:
    spare = await asyncio.to_thread(warm.spare)
    await warm.backend.apply(served(MALLOC_ARENA_MAX="1"))
    await warm.until_ready()
    assert replica_process(home).environ()["MALLOC_ARENA_MAX"] == "1"
    assert [each.pid for each in warm.spares()] == [spare.pid]


@pytest.fixture
def driver(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A control with a replica that was a spare, and another spare."""
    command = [sys.executable, "-m", "tests.backends.warm_driver", str(home)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "both are there\n"
            yield process
        finally:
            process.kill()


async def test_when_control_is_killed_its_spares_end_and_its_replicas_do_not(
    home: Path, driver: subprocess.Popen[str]
) -> None:
    world = WarmWorld(home)
    replica, (spare,) = replica_process(home), world.spares()
    keeper = spare.ppid()
    driver.kill()
    assert await gone(spare.pid)
    assert await gone(keeper)
    await world.open()
    await world.until_ready()
    assert replica_process(home) == replica
    await world.close()
    assert_clean(home)


async def test_a_spare_that_hung_when_control_was_killed_is_ended_by_the_next(
    home: Path, driver: subprocess.Popen[str]
) -> None:
    world = WarmWorld(home)
    replica, (spare,) = replica_process(home), world.spares()
    os.kill(keeper := spare.ppid(), signal.SIGSTOP)
    driver.kill()
    await asyncio.to_thread(driver.wait)
    assert spare.is_running()
    await world.open()
    assert await gone(keeper)
    assert await gone(spare.pid)
    assert replica_process(home) == replica
    await world.close()
    assert_clean(home)


# -- parts

PLACE = Placement(
    "e1-r1-abcde", Path("/s"), Path("/cache"), Path("/t.log"), Path("/notify.sock"), 1.5, 2_000_000_000
)
SERVER = {"PATH": "/bin", "LANG": "C.UTF-8", "https_proxy": "http://p", "INLET_TOKEN": "t", "HF_TOKEN": "t"}


@pytest.mark.parametrize(
    ("env", "possible"),
    [
        ({}, True),
        ({"HF_TOKEN": "hf_secret", "MY_OWN": "1", "OMP_NUM_THREADS": "4"}, True),
        ({"PATH": "/other", "https_proxy": "http://other"}, True),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"TZ": "Europe/Berlin"}, False),
        ({"PYTHONHASHSEED": "0"}, False),
        ({"OPENBLAS_NUM_THREADS": "4"}, False),
        ({"LD_PRELOAD": "/lib/x.so"}, False),
        ({"MALLOC_ARENA_MAX": "1"}, False),
    ],
)
def test_what_can_be_told_later(env: dict[str, str], possible: bool) -> None:
    launch = served(**env).launch
    spare_env = spare_environment(PLACE.notify, SERVER)
    assert (
        can_be_spare(runtime_command(launch, PLACE), environment(launch, PLACE, SERVER), spare_env)
        is possible
    )


def test_another_command_is_none_that_a_spare_can_be() -> None:
    spare_env = spare_environment(PLACE.notify, SERVER)
    command = [sys.executable, "-m", "inlet.runtime_of_mine"]
    assert not can_be_spare(command, environment(served().launch, PLACE, SERVER), spare_env)


def test_a_spare_knows_nothing_of_the_server() -> None:
    env = spare_environment(PLACE.notify, SERVER)
    assert not {"INLET_TOKEN", "HF_TOKEN"} & env.keys()
    assert env["INLET_REPLICA_ID"].strip() == ""


async def test_where_memory_is_short_there_is_none(home: Path) -> None:
    pool = Pool(1, notify=home / "run" / "notify.sock", memory=ROOM - 1, delay=0.01)
    pool._fill()
    assert pool._spares == []
    await pool.close()


async def test_however_often_none_could_be_started_the_next_try_comes(home: Path) -> None:
    pool = Pool(1, notify=home / "run" / "notify.sock", memory=ROOM, delay=2.0)
    pool._failures = 5000
    with structlog.testing.capture_logs() as told:
        pool._failed("no such luck")
    assert told[0]["retry_in"] == 600
    assert pool._timer is not None
    await pool.close()


async def test_a_folder_of_packages_that_is_gone_is_a_change_and_no_failure(
    warm: WarmWorld, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    await asyncio.to_thread(installed.mkdir)
    first = await asyncio.to_thread(warm.spare)
    monkeypatch.syspath_prepend(installed)
    os.kill(first.ppid(), signal.SIGKILL)
    spare = await asyncio.to_thread(warm.spare, first)
    await asyncio.to_thread(installed.rmdir)
    await warm.backend.apply(served())
    await warm.until_ready()
    assert replica_process(home) != spare
    assert await gone(spare.pid)


async def test_none_are_kept_for_commands_that_are_not_ours_to_start(home: Path) -> None:
    world = LocalWorld(home)
    await world.open()
    await world.backend.apply(world.does("serve"))
    await world.until(ready("e1-r1"))
    assert world.backend._site.pool._timer is None
    assert len(processes_of(home)) == 2
    await world.close()


def test_limits_can_be_put_upon_a_process_that_runs(tmp_path: Path) -> None:
    (cpu, *_) = os.sched_getaffinity(0)
    plan = Plan(
        replica_id="r", folder="", command=[], env={}, notify="", log="", log_bytes=0, grace=0.0, enter=[], events=None,
        spare_answers=0.0, data_limit=2**30, watched_memory=None, cpus=[cpu],
    )  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        confine(process.pid, plan)
        assert resource.prlimit(process.pid, resource.RLIMIT_DATA) == (2**30, 2**30)
        assert os.sched_getaffinity(process.pid) == {cpu}
        process.kill()


LATE_IMPORTS = """
import sys
from pathlib import Path
import inlet.runtime.spare
before = set(sys.modules)
from inlet.runtime.loader import load
from inlet.runtime.options import parse
load(parse(["--model", sys.argv[1], "--task", "feature-extraction", "--port", "0"], {}), lambda *_: None)
print(*sorted(name for name in set(sys.modules) - before if name.startswith("inlet.") or "." not in name))
"""


def test_a_spare_has_imported_all_that_a_start_imports() -> None:
    command = [sys.executable, "-c", LATE_IMPORTS, str(sample_folder())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=WITHIN_S, check=True)
    assert done.stdout.split() == []
