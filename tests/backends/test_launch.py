"""What a replica is started with, what it must never see, and what must never lie on disk."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.backends.base import Launch
from inlet.backends.local import Placement, runtime_command
from inlet.backends.local.command import environment
from inlet.backends.local.site import LONGEST_SOCKET
from inlet.core.errors import BackendUnavailable, Refused
from tests.backends.worlds import LocalWorld, get, lines, ready, replica_set

PLACE = Placement(
    "e1-r1-abcde",
    Path("/run/s"),
    Path("/cache"),
    Path("/t.log"),
    Path("/run/notify.sock"),
    1.5,
    2_000_000_000,
    Path("/artifacts"),
)
HUB = Launch(
    "org/model", False, "c" * 40, "text-classification", "pytorch", "huggingface", {"HF_TOKEN": "s3cret"}
)


def test_the_command_line_of_the_runtime() -> None:
    assert runtime_command(HUB, PLACE) == [
        sys.executable, "-m", "inlet.runtime", "--model", "org/model", "--commit", "c" * 40,
        "--task", "text-classification", "--socket", "/run/s", "--vcpus", "1.5", "--memory", "2000000000",
        "--cache", "/cache", "--artifacts", "/artifacts",
        "--termination-log", "/t.log",
    ]  # fmt: skip
    assert "--commit" not in runtime_command(replace(HUB, local=True, commit=None), PLACE)


def test_no_secret_is_on_the_command_line() -> None:
    assert not any("s3cret" in word for word in runtime_command(HUB, PLACE))


def test_the_environment_is_a_clean_base_and_the_endpoints_own() -> None:
    server = {
        "PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8", "https_proxy": "http://p", "HF_ENDPOINT": "http://hub",
        "INLET_TOKEN": "t", "INLET_SECRET_KEY": "k", "INLET_DATABASE_URL": "d", "HF_TOKEN": "server's", "AWS_SECRET": "x",
    }  # fmt: skip
    env = environment(
        replace(HUB, env={"HF_TOKEN": "own", "LANG": "de", "NOTIFY_SOCKET": "/mine"}), PLACE, server
    )
    assert {
        name: env[name] for name in ("PATH", "HOME", "LANG", "https_proxy", "HF_ENDPOINT", "HF_TOKEN")
    } == {
        "PATH": "/bin",
        "HOME": "/root",
        "LANG": "de",
        "https_proxy": "http://p",
        "HF_ENDPOINT": "http://hub",
        "HF_TOKEN": "own",
    }
    assert (env["NOTIFY_SOCKET"], env["INLET_REPLICA_ID"]) == ("/run/notify.sock", "e1-r1-abcde")
    assert env["OMP_NUM_THREADS"] == "2"
    assert not {"INLET_TOKEN", "INLET_SECRET_KEY", "INLET_DATABASE_URL", "AWS_SECRET"} & env.keys()


def files_with(home: Path, secret: bytes) -> list[Path]:
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 3
    return [path for path in files if secret in path.read_bytes()]


async def test_secrets_reach_the_replica_and_never_the_disk(world: LocalWorld, home: Path) -> None:
    await world.backend.apply(replica_set(env={"HF_TOKEN": "hf_verysecret"}))
    (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    assert await get(replica, "/env/HF_TOKEN") == "hf_verysecret"
    assert files_with(home, b"hf_verysecret") == []
    assert "hf_verysecret" not in repr(replica_set(env={"HF_TOKEN": "hf_verysecret"}))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image_kind": "custom"}, r"model\.image"),
        ({"image_kind": "vllm"}, r"model\.image"),
        ({"args": ("--fast",)}, r"model\.args"),
        ({"command": ("python", "x.py")}, r"model\.command"),
    ],
)
async def test_what_only_a_container_could_honour_is_refused(
    world: LocalWorld, change: dict, field: str
) -> None:
    wanted = replica_set()
    with pytest.raises(Refused, match=field):
        await world.backend.apply(replace(wanted, launch=replace(wanted.launch, **change)))
    assert await world.backend.observe() == ()


async def test_ids_cannot_leave_their_folder(world: LocalWorld) -> None:
    with pytest.raises(ValueError, match="name of a folder"):
        await world.backend.apply(replace(replica_set(), id="../../etc"))
    with pytest.raises(ValueError, match="name of a folder"):
        await world.backend.forget("..")
    assert await lines(world.backend, "e1", replica_id="../../../etc/passwd") == []


async def test_a_home_with_a_long_path_works(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    world = LocalWorld(deep)
    await world.open()
    await world.backend.apply(replica_set())
    (replica,) = (await world.until(ready("e1-r1")))["e1-r1"].replicas
    folder = Path(replica.address.removeprefix("unix:")).parent
    assert len(replica.address.removeprefix("unix:")) <= LONGEST_SOCKET
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "notify.sock").stat().st_mode & 0o777 == 0o600
    await world.close()
    folder.rmdir()


async def test_verbs_before_the_start_say_so(home: Path) -> None:
    backend = LocalWorld(home).backend
    for call in (backend.observe(), backend.apply(replica_set()), backend.remove("x", grace=1)):
        with pytest.raises(BackendUnavailable, match="not started"):
            await call
