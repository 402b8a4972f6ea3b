"""Sealing, and what happens when the key is lost, wrong or asked for twice."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from inlet.control.vault import Vault
from inlet.core.errors import Refused


def key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return Vault.load(tmp_path_factory.mktemp("home"))


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_what_is_sealed_can_be_opened_and_not_read(lasting: Vault, value: str) -> None:
    sealed = lasting.seal(value)
    assert lasting.open(sealed) == value
    assert lasting.seal(value) != sealed, "equal secrets must not look equal"
    assert len(value) < 8 or value not in sealed


def test_the_first_start_makes_a_key_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    sealed = Vault.load(home).seal("s")
    assert {path.name for path in home.iterdir()} == {"secret.key", "secret.check"}
    for path in home.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = (home / "secret.key").read_bytes()
    assert Vault.load(home).open(sealed) == "s"
    assert (home / "secret.key").read_bytes() == before


def test_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(lambda _: Vault.load(tmp_path), range(8)))
        sealed = list(pool.map(lambda vault: vault.seal("s"), vaults))
    assert [vaults[0].open(text) for text in sealed] == ["s"] * 8
    assert Vault.load(tmp_path).open(sealed[3]) == "s"


def test_a_key_given_by_setting_leaves_no_key_file(tmp_path: Path) -> None:
    given_key = key()
    sealed = Vault.load(tmp_path, given_key).seal("s")
    assert not (tmp_path / "secret.key").exists()
    assert Vault.load(tmp_path, given_key).open(sealed) == "s"


def test_before_anything_was_sealed_a_key_may_change(tmp_path: Path) -> None:
    Vault.load(tmp_path)
    (tmp_path / "secret.key").unlink()
    Vault.load(tmp_path)
    Vault.load(tmp_path, key())


def test_a_lost_key_file_is_a_refusal_and_is_not_replaced(tmp_path: Path) -> None:
    Vault.load(tmp_path).seal("s")
    kept = (tmp_path / "secret.key").read_bytes()
    (tmp_path / "secret.key").unlink()
    for _ in range(2):
        with pytest.raises(Refused, match=r"lost: secret\.key is missing.*Restore it"):
            Vault.load(tmp_path)
        assert not (tmp_path / "secret.key").exists()
    (tmp_path / "secret.key").write_bytes(kept)
    Vault.load(tmp_path)


def test_another_key_is_a_refusal(tmp_path: Path) -> None:
    Vault.load(tmp_path).seal("s")
    stranger = key()
    with pytest.raises(Refused, match="INLET_SECRET_KEY holds another key") as caught:
        Vault.load(tmp_path, stranger)
    assert stranger not in str(caught.value)


@pytest.mark.parametrize("text", ["hunter2", "", "a,b", "é" * 44])
def test_what_is_not_a_key_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.key").write_text(text)
    for arguments in ((tmp_path,), (tmp_path, text or ",")):
        with pytest.raises(Refused, match="is not a key") as caught:
            Vault.load(*arguments)
        assert "hunter2" not in str(caught.value)


def test_keys_can_be_changed_by_naming_the_old_one_too(tmp_path: Path) -> None:
    old, new = key(), key()
    before = Vault.load(tmp_path, old).seal("before")
    both = Vault.load(tmp_path, f"{new}, {old}")
    assert both.open(before) == "before"
    assert Fernet(new).decrypt(both.seal("after").encode()) == b"after"


def test_a_sealed_value_of_another_key_or_altered_is_refused(tmp_path: Path) -> None:
    vault = Vault.load(tmp_path)
    sealed = vault.seal("s")
    for wrong in (Fernet(key()).encrypt(b"s").decode(), sealed[:-4] + "AAA=", "plain", ""):
        with pytest.raises(Refused, match="set it again, or restore the key"):
            vault.open(wrong)
