"""What a start refuses, with the setting or file that is wrong; and what the first start leaves."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from inlet.control.bootstrap import ensure_namespace, refuse_while_led
from inlet.control.election import TAKES_AFTER_S
from inlet.control.launch import Launcher
from inlet.control.vault import Vault, generate_key
from inlet.core.catalogue import CATALOGUE
from inlet.core.endpoint import Source
from inlet.core.errors import Invalid, Refused
from inlet.process import private_folder
from inlet.settings import Settings
from inlet.store.memory import MemoryStore
from tests.records import endpoint


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("INLET_PORT", "70000", "a whole number from 0 to 65535"),
        ("INLET_PORT", "-1", "a whole number from 0 to 65535"),
        ("INLET_PORT", "web", "a whole number from 0 to 65535"),
        ("INLET_DRAIN_SECONDS", "nan", "a number of seconds, 0 or more"),
        ("INLET_STARTUP_TIMEOUT", "inf", "a number of seconds, 0 or more"),
        ("INLET_MAX_PENDING", "0", "a whole number, 1 or more"),
        ("INLET_STRICT_INSTANCES", "maybe", "1 or 0"),
        ("INLET_LOG_LEVEL", "verbose", "one of debug, info, warning, error"),
        ("INLET_LOG_FORMAT", "xml", "one of json, console, auto"),
        ("INLET_PUBLIC_URL", "ml.example.com", "an address like https://ml.example.com"),
        ("INLET_PUBLIC_URL", "ftp://ml.example.com", "an address like https://ml.example.com"),
        ("INLET_PUBLIC_URL", "http://[", "an address like https://ml.example.com"),
        ("INLET_PUBLIC_URL", "http://ml.example.com:web", "an address like https://ml.example.com"),
        ("INLET_BASE_DOMAIN", "ML.example.com", "a domain in small letters like ml.example.com"),
        ("INLET_BASE_DOMAIN", "https://example.com", "a domain in small letters like ml.example.com"),
        ("INLET_MODELS", "models:/srv", "a list of absolute paths, separated by ':'"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_it_takes(name: str, text: str, expected: str) -> None:
    with pytest.raises(Invalid, match=f"^{name}: {re.escape(repr(text))} is not {expected}$"):
        Settings.from_env({name: text})


@pytest.mark.parametrize(
    "token", ["two words of a token", "ein-Schlüssel-mit-Umlaut", "a-line-feed-in-a-token\n"]
)
def test_a_token_that_no_client_could_send_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(Invalid, match=r"^INLET_TOKEN: its value is not") as caught:
        Settings.from_env({"INLET_TOKEN": token})
    assert token not in str(caught.value)


def test_settings_that_can_be() -> None:
    read = Settings.from_env({"INLET_LOG_LEVEL": "DEBUG", "INLET_STRICT_INSTANCES": "Yes", "INLET_PORT": "0"})
    assert (read.log_level, read.strict_instances, read.port) == ("DEBUG", True, 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("10.0.0.5", "http://10.0.0.5:8080"),
    ],
)
def test_the_address_for_callers_nearby(host: str, url: str) -> None:
    assert Settings(host=host).url == url
    far = Settings(host=host, public_url="https://ml.example.com/")
    assert (far.url, far.near_url) == ("https://ml.example.com", url)


@pytest.mark.parametrize("name", ["My Org", "a/b", "", "-", "api", "v2", "x" * 33])
async def test_a_first_namespace_must_be_a_name(name: str) -> None:
    store = MemoryStore()
    await store.open()
    with pytest.raises(Invalid, match="INLET_NAMESPACE"):
        await ensure_namespace(store, Settings(namespace=name), 0.0)
    assert await store.list_namespaces() == []


async def test_the_first_namespace_stays_the_first_whatever_the_setting_says_later() -> None:
    store = MemoryStore()
    await store.open()
    assert await ensure_namespace(store, Settings(namespace="acme"), 0.0) == "acme"
    assert await ensure_namespace(store, Settings(namespace="other"), 1.0) == "acme"
    assert await store.list_namespaces() == ["acme"]


class Slower(MemoryStore):
    """Another control makes the first namespace once this one has looked for it."""

    async def list_namespaces(self) -> Sequence[str]:
        found = await super().list_namespaces()
        if not found:
            await self.add_namespace("default", 0.0)
        return found


async def test_of_two_that_start_at_once_both_find_the_first_namespace() -> None:
    store = Slower()
    await store.open()
    assert await ensure_namespace(store, Settings(), 1.0) == "default"
    assert await store.list_namespaces() == ["default"]


async def test_a_key_is_not_given_up_while_another_control_has_it() -> None:
    store = MemoryStore()
    await store.open()
    waits: list[float] = []

    async def rest(seconds: float) -> None:
        waits.append(seconds)

    async def renewed(_seconds: float) -> None:
        await store.put_lease("other", "http://there", seen=await store.get_lease())

    await refuse_while_led(store, "me", rest=rest)
    await store.put_lease("me", "http://here", seen=None)
    await refuse_while_led(store, "me", rest=rest)
    assert waits == [], "nobody else is there"
    await store.put_lease("other", "http://there", seen=await store.get_lease())
    await refuse_while_led(store, "me", rest=rest)
    assert sum(waits) >= TAKES_AFTER_S, "it was silent for so long"
    with pytest.raises(Refused, match="take it from there \\(http://there\\)"):
        await refuse_while_led(store, "me", rest=renewed)


def test_a_folder_that_cannot_be_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="choose another INLET_HOME"):
        private_folder(tmp_path / "file")
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)
    assert private_folder(link) == link
    if os.geteuid() == 0:
        os.chown(link, 12345, 12345, follow_symlinks=False)
        with pytest.raises(Refused, match="belongs to another user"):
            private_folder(link)


@pytest.mark.parametrize(
    "name", ["HF_ENDPOINT", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
)
def test_the_servers_hub_token_goes_to_no_other_server_than_the_hub(name: str) -> None:
    """Whoever may write an endpoint must not learn it by leading the download to a server of their own."""
    vault = Vault([generate_key()])
    launcher = Launcher(vault=vault, server_token="server", first_namespace="default")
    base = endpoint("e")
    source = Source("org/model", local=False, commit="c" * 40, task="fill-mask")

    def token(**model: object) -> str | None:
        changed = replace(base.target.workload.model, **{"env": {}, "secrets": {}, **model})
        workload = replace(base.target.workload, model=changed)
        revision = replace(base.target, source=source, workload=workload)
        env = launcher.replica_set(base, revision, 1, CATALOGUE).launch.env
        return env.get("INLET_HUB_TOKEN") or env.get("HF_TOKEN")

    assert token() == "server"
    assert token(env={name: "http://elsewhere"}) is None
    assert token(secrets={name: vault.seal("http://elsewhere")}) is None
    assert token(env={name: "http://elsewhere", "HF_TOKEN": "own"}) == "own"
