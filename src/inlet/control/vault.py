"""Seals people's secrets before they are stored, and opens them when a replica set is applied.

Made once by control at its start. The key is `INLET_SECRET_KEY`, else the file `secret.key` in the home (0600, made at
the first start, never overwritten). The first start on a database leaves a check there: a known text, sealed. From
then on a start with a key that does not open it is refused: a lost key, or one that another control on the same
database does not have, must be noticed at once, and not when a replica needs its secrets. Must never log or repeat a
key or an opened value.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from inlet.core.errors import Refused
from inlet.store.base import Store

_KEY_FILE = "secret.key"
_CHECK_TEXT = "inlet"
_SETTING = "INLET_SECRET_KEY"


class Vault:
    """Symmetric, authenticated sealing (Fernet: AES-128-CBC with HMAC-SHA-256)."""

    def __init__(self, keys: Sequence[str], source: str = _SETTING) -> None:
        """The first key seals, all of them open; `Refused` names `source` if one is not a key."""
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise Refused(
                f"{source} is not a key: it takes 32 random bytes in base64, as `openssl rand -base64 32` prints them"
            ) from None

    @classmethod
    async def load(cls, home: Path, key_setting: str, store: Store, *, new_key: bool = False) -> Vault:
        """The vault of this home and database; `Refused` if its key is lost, not the database's, or not a key.

        `key_setting` may hold several keys, separated by commas. With `new_key` the key is the database's from now on,
        and what was sealed with another one stays closed.
        """
        check = await store.get_key_check()
        sealed = await _secrets(store) if check is None else [check]
        if key_setting:
            keys, source = [text.strip() for text in key_setting.split(",")], _SETTING
        else:
            keys, source = [_kept_key(home, may_make=new_key or not sealed)], _KEY_FILE
        vault, sealing = cls(keys, source), cls(keys[:1], source)
        # A check that only another listed key opens is sealed again, so that the old key can be left out some day.
        while check is None or not sealing._opens(check):
            if sealed and not (new_key or any(vault._opens(text) for text in sealed)):
                raise Refused(_lost(f"{source} holds another key", home))
            if await store.put_key_check(vault.seal(_CHECK_TEXT), seen=check):
                break
            check = await store.get_key_check()
            sealed = [] if check is None else [check]
        return vault

    def seal(self, value: str) -> str:
        """The sealed form, printable ASCII; different each time."""
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, sealed: str) -> str:
        """What was sealed; `Refused` if it was sealed with another key or altered."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Refused(
                f"a stored secret was sealed with another key: set it again, or restore the key ({_SETTING} or {_KEY_FILE})"
            ) from None

    async def closed(self, store: Store) -> list[str]:
        """What in the store was sealed with another key, each as `namespace/endpoint: NAME`."""
        return [
            f"{endpoint.namespace}/{endpoint.name}: {name}"
            for endpoint in await store.all_endpoints()
            for name, sealed in endpoint.spec.workload.model.secrets.items()
            if not self._opens(sealed)
        ]

    def _opens(self, sealed: str) -> bool:
        try:
            self.open(sealed)
        except Refused:
            return False
        return True


def generate_key() -> str:
    """A fresh random key."""
    return Fernet.generate_key().decode()


async def _secrets(store: Store) -> list[str]:
    """All that is sealed: a database of an earlier version has no check, and these say as much of the key."""
    return [
        text
        for endpoint in await store.all_endpoints()
        for text in endpoint.spec.workload.model.secrets.values()
    ]


def _kept_key(home: Path, *, may_make: bool) -> str:
    key_file = home / _KEY_FILE
    if not key_file.exists():
        if not may_make:
            raise Refused(_lost(f"{_KEY_FILE} is missing", home))
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(key_file, generate_key().encode())
    try:
        return key_file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise Refused(
            f"{key_file} cannot be read ({error.strerror}): it holds the key to stored secrets"
        ) from error


def _lost(what: str, home: Path) -> str:
    return (
        f"the key to the secrets in the database is lost: {what}. Restore it, or take the one of the others who use that "
        f"database ({_SETTING}, or {_KEY_FILE} in {home}); if it is gone for good, start once with "
        "`inlet up --new-key` and set every endpoint's secrets again"
    )


def _write_new(path: Path, content: bytes) -> None:
    """Whole, flushed and 0600, or not at all; a file that is already there wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
