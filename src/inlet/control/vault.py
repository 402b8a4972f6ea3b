"""Seals people's secrets before they are stored, and opens them when a replica set is applied.

Made once by control at its start. The key is `INLET_SECRET_KEY`, else the file `secret.key` in the home (0600, made at
the first start, never overwritten). The first time that something is sealed, the file `secret.check` is left beside
it: a known text, sealed. While it exists, a start without a key that opens it is refused: a lost key must be noticed
at once, and not when a replica needs its secrets. Must never log or repeat a key or an opened value.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from inlet.core.errors import Refused

_KEY_FILE = "secret.key"
_CHECK_FILE = "secret.check"
_CHECK_TEXT = b"inlet"
_SETTING = "INLET_SECRET_KEY"


class Vault:
    """Symmetric, authenticated sealing (Fernet: AES-128-CBC with HMAC-SHA-256)."""

    def __init__(self, fernet: MultiFernet, check: Path) -> None:
        """Use `load`; `check` is the file that the first `seal` leaves."""
        self._fernet = fernet
        self._check = check
        self._checked = check.exists()

    @classmethod
    def load(cls, home: Path, key_setting: str = "") -> Vault:
        """The vault of this home; `Refused` if its key is lost, wrong or not a key.

        `key_setting` may hold several keys, separated by commas: the first one seals, all of them open.
        """
        check = home / _CHECK_FILE
        key_file = home / _KEY_FILE
        if key_setting:
            texts, source = [text.strip() for text in key_setting.split(",")], _SETTING
        else:
            if not key_file.exists():
                if check.exists():
                    raise Refused(_lost(f"{key_file.name} is missing", home))
                home.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write_new(key_file, Fernet.generate_key())
            texts, source = [_read(key_file)], key_file.name
        vault = cls(_fernet(texts, source), check)
        if check.exists() and not vault._opens(check.read_bytes()):
            raise Refused(_lost(f"{source} holds another key", home))
        return vault

    def seal(self, value: str) -> str:
        """The sealed form, printable ASCII; different each time."""
        if not self._checked:
            # One small flush in the life of an installation: before the first sealed value can be stored anywhere.
            _write_new(self._check, self._fernet.encrypt(_CHECK_TEXT))
            self._checked = True
        return self._fernet.encrypt(value.encode()).decode()

    def open(self, sealed: str) -> str:
        """What was sealed; `Refused` if it was sealed with another key or altered."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Refused(
                f"a stored secret was sealed with another key: set it again, or restore the key ({_SETTING} or {_KEY_FILE})"
            ) from None

    def _opens(self, sealed: bytes) -> bool:
        try:
            return self._fernet.decrypt(sealed) == _CHECK_TEXT
        except InvalidToken:
            return False


def _read(key_file: Path) -> str:
    try:
        return key_file.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise Refused(
            f"{key_file} cannot be read ({error.strerror}): it holds the key to stored secrets"
        ) from error


def _fernet(texts: list[str], source: str) -> MultiFernet:
    try:
        return MultiFernet([Fernet(text) for text in texts])
    except ValueError:
        raise Refused(
            f"{source} is not a key: it takes 32 random bytes in base64, as `openssl rand -base64 32` prints them"
        ) from None


def _lost(what: str, home: Path) -> str:
    return (
        f"the key to the stored secrets is lost: {what}. Restore it ({_SETTING}, or {_KEY_FILE} in {home}); "
        f"if it is gone for good, delete {_CHECK_FILE} there and set every endpoint's secrets again"
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
