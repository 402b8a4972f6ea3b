"""Sealing, and what happens when the key is lost, wrong, another control's or asked for twice."""

import asyncio
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlet.control.vault import Vault, generate_key
from inlet.core.endpoint import Endpoint
from inlet.core.errors import Refused
from inlet.settings import Settings
from inlet.store.base import Store
from inlet.store.memory import MemoryStore
from inlet.store.sql import SqlStore, database_url
from tests.records import endpoint, event

LASTING = Vault([generate_key()])


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "new" / "home"


def with_secret(name: str, sealed: str) -> Endpoint:
    record = endpoint(name)
    model = replace(record.spec.workload.model, secrets={"S": sealed})
    return replace(record, spec=replace(record.spec, workload=replace(record.spec.workload, model=model)))


def keep(home: Path, key: bytes) -> None:
    home.mkdir(parents=True)
    (home / "secret.key").write_bytes(key)


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_what_is_sealed_can_be_opened_and_not_read(value: str) -> None:
    sealed = LASTING.seal(value)
    assert LASTING.open(sealed) == value
    assert LASTING.seal(value) != sealed, "equal secrets must not look equal"
    assert len(value) < 8 or value not in sealed


async def test_the_first_start_makes_a_key_for_its_owner_only(home: Path, store: Store) -> None:
    sealed = (await Vault.load(home, "", store)).seal("s")
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    before = (home / "secret.key").read_bytes()
    assert (await Vault.load(home, "", store)).open(sealed) == "s"
    assert (home / "secret.key").read_bytes() == before
    assert before.decode() not in str(await store.get_key_check())


async def test_starts_at_once_agree_on_one_key(home: Path, store: Store) -> None:
    vaults = await asyncio.gather(*(Vault.load(home, "", store) for _ in range(8)))
    sealed = [vault.seal("s") for vault in vaults]
    assert [vaults[0].open(text) for text in sealed] == ["s"] * 8


async def test_a_key_given_by_setting_leaves_no_key_file(home: Path, store: Store) -> None:
    key = generate_key()
    sealed = (await Vault.load(home, key, store)).seal("s")
    assert not (home / "secret.key").exists()
    assert (await Vault.load(home, key, store)).open(sealed) == "s"


async def test_a_lost_key_file_is_a_refusal_and_is_not_replaced(home: Path, store: Store) -> None:
    sealed = (await Vault.load(home, "", store)).seal("s")
    kept = (home / "secret.key").read_bytes()
    (home / "secret.key").unlink()
    for _ in range(2):
        with pytest.raises(Refused, match=r"secret\.key is missing.*Restore it"):
            await Vault.load(home, "", store)
        assert not (home / "secret.key").exists()
    (home / "secret.key").write_bytes(kept)
    assert (await Vault.load(home, "", store)).open(sealed) == "s"


async def test_another_key_is_a_refusal(home: Path, store: Store) -> None:
    await Vault.load(home, "", store)
    stranger = generate_key()
    with pytest.raises(Refused, match="INLET_SECRET_KEY holds another key") as caught:
        await Vault.load(home, stranger, store)
    assert stranger not in str(caught.value)


async def test_homes_on_one_database_must_have_one_key(tmp_path: Path) -> None:
    """Even before anything was sealed: each would seal what the other cannot open."""
    store = SqlStore(database_url(Settings(home=tmp_path)))
    await store.open()
    homes = [tmp_path / name for name in "abc"]
    outcomes = await asyncio.gather(*(Vault.load(home, "", store) for home in homes), return_exceptions=True)
    (winner,) = [home for home, outcome in zip(homes, outcomes, strict=True) if isinstance(outcome, Vault)]
    for outcome in outcomes:
        assert isinstance(outcome, Vault) or "take the one of the others" in str(outcome)
    shared = (winner / "secret.key").read_text()
    for home in homes:
        await Vault.load(home, shared, store)
    await store.close()


async def test_a_key_that_is_gone_for_good_can_be_given_up(home: Path, store: Store) -> None:
    sealed = (await Vault.load(home, "", store)).seal("s")
    (home / "secret.key").unlink()
    renewed = await Vault.load(home, "", store, new_key=True)
    with pytest.raises(Refused, match="set it again"):
        renewed.open(sealed)
    record = with_secret("a", sealed)
    await store.add_endpoint(record, event(record))
    assert await renewed.closed(store) == [f"{record.namespace}/{record.name}: S"]
    check = await store.get_key_check()
    again = await Vault.load(home, "", store, new_key=True)
    assert again.open(renewed.seal("new")) == "new"
    assert await store.get_key_check() == check, "a key that fits is left in place"


async def test_a_database_without_a_check_is_known_by_what_is_sealed_in_it(home: Path, store: Store) -> None:
    """As an earlier version left it."""
    old = generate_key()
    for name, sealed in (("a", Vault([old]).seal("s")), ("b", Vault([generate_key()]).seal("given up"))):
        record = with_secret(name, sealed)
        await store.add_endpoint(record, event(record))
    with pytest.raises(Refused, match=r"secret\.key is missing"):
        await Vault.load(home, "", store)
    assert not (home / "secret.key").exists()
    with pytest.raises(Refused, match="INLET_SECRET_KEY holds another key"):
        await Vault.load(home, generate_key(), store)
    assert await store.get_key_check() is None
    await Vault.load(home, old, store)
    assert Vault([old]).open(str(await store.get_key_check()))


@pytest.mark.parametrize("text", ["hunter2", "", "a,b", "é" * 44])
async def test_what_is_not_a_key_is_refused_without_repeating_it(home: Path, store: Store, text: str) -> None:
    keep(home, text.encode())
    for setting in ("", text or ","):
        with pytest.raises(Refused, match="is not a key") as caught:
            await Vault.load(home, setting, store)
        assert "hunter2" not in str(caught.value)
    assert await store.get_key_check() is None


async def test_a_key_file_that_cannot_be_read_is_refused(home: Path, store: Store) -> None:
    keep(home, bytes(range(128, 172)))
    with pytest.raises(Refused, match=r"secret.key is not a key"):
        await Vault.load(home, "", store)
    (home / "secret.key").unlink()
    (home / "secret.key").mkdir()
    with pytest.raises(Refused, match=r"secret.key cannot be read \(Is a directory\)"):
        await Vault.load(home, "", store)


async def test_keys_can_be_changed_by_naming_the_old_one_too(home: Path, store: Store) -> None:
    old, new = generate_key(), generate_key()
    before = (await Vault.load(home, old, store)).seal("before")
    both = await Vault.load(home, f"{new}, {old}", store)
    assert both.open(before) == "before"
    after = both.seal("after")
    with pytest.raises(Refused, match="another key"):
        await Vault.load(home, old, store)
    assert (await Vault.load(home, f"{old},{new}", store)).open(after) == "after"
    with pytest.raises(Refused, match="another key"):
        await Vault.load(home, new, store)
    await Vault.load(home, f"{new},{old}", store)
    assert (await Vault.load(home, new, store)).open(after) == "after", "the old one can be left out"


def test_a_sealed_value_of_another_key_or_altered_is_refused() -> None:
    sealed = LASTING.seal("s")
    for wrong in (Vault([generate_key()]).seal("s"), sealed[:-4] + "AAA=", "plain", ""):
        with pytest.raises(Refused, match="set it again, or restore the key"):
            LASTING.open(wrong)
