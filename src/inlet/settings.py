"""Every setting of the product, in one place, read from the environment once per process.

`Settings.from_env()` is called by the entry points of the processes (`cli/`, `control/__main__.py`,
`router/__main__.py`) and by nobody else; everything below them gets values. The docs' settings page is made from the
`help` beside each field.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from inlet.core.computing import Precision
from inlet.core.errors import Invalid
from inlet.core.flags import flag_of
from inlet.core.origin import is_origin
from inlet.core.trust import Confinement, reach_of

PREFIX = "INLET_"
LONGEST_RUN_DIR = 60  # bytes; leaves room for the longest name of a socket


def _setting(
    default: Any,
    help_: str,
    *,
    secret: bool = False,
    choices: Sequence[str] = (),
    least: int = 0,
    most: float = math.inf,
    like: tuple[Callable[[str], bool], str] | None = None,
) -> Any:
    """`like`: whether a text that is not empty can be this, and in words what it must be."""
    metadata = {
        "help": help_,
        "secret": secret,
        "choices": choices,
        "least": least,
        "most": most,
        "like": like,
    }
    return field(default=default, metadata=metadata, repr=not secret)


def _is_domain(text: str) -> bool:
    return re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", text) is not None


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_reach(text: str) -> bool:
    try:
        reach_of(text)
    except Invalid:
        return False
    return True


def _are_folders(text: str) -> bool:
    return all(part.startswith(("/", "~")) for part in text.split(":") if part)


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable: `INLET_` and the field's name in capitals."""

    home: Path = _setting(Path("~/.inlet"), "Folder of all state: database, key, replicas, logs, downloads.")
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 opens it to the network.")
    port: int = _setting(8080, "Port to listen on.", most=65535)
    public_url: str = _setting(
        "",
        "Base of `status.url`, e.g. https://ml.example.com; default http://HOST:PORT.",
        like=(is_origin, "an address like https://ml.example.com"),
    )
    base_domain: str = _setting(
        "",
        "With a domain, each endpoint also gets the host {name}-{id}.{domain}, and `status.url` uses it.",
        like=(_is_domain, "a domain in small letters like ml.example.com"),
    )
    token: str = _setting(
        "",
        "An admin token, valid while this is set; for scripted installs.",
        secret=True,
        like=(_is_token, "made of letters, digits and signs of ASCII, without spaces"),
    )
    namespace: str = _setting("default", "Name of the first namespace, made at the first start.")
    database_url: str = _setting(
        "",
        "Where state is kept: postgresql://user:password@host/database, or sqlite:////absolute/path; default the "
        "file inlet.db in the home.",
        secret=True,
    )
    secret_key: str = _setting(
        "",
        "Key that seals secrets, the same for all who share a database; default the file secret.key in the home.",
        secret=True,
    )
    models: str = _setting(
        "",
        "Folders below which local models may be served, separated by ':'; default the user's home.",
        like=(_are_folders, "a list of absolute paths, separated by ':'"),
    )
    allow_code: bool = _setting(
        True,
        "Let code of repositories run: custom handlers, pickles, architectures of their own. No endpoint can loosen it.",
    )
    sandbox: str = _setting(
        Confinement.BEST_EFFORT,
        "What must be enforced around such code: require (else it does not run), best-effort or off. No endpoint can loosen it.",
        choices=tuple(Confinement),
    )
    sandbox_reach: str = _setting(
        "",
        "What it may talk to beside public addresses and HF_ENDPOINT: host:port, separated by ','.",
        like=(_is_reach, "a list of host:port, separated by ','"),
    )
    allow_commands: bool = _setting(
        False,
        "Let endpoints run commands on this server (images custom, tei, tgi, vLLM, sGLang with the url process:). "
        "Whoever may create endpoints can then run anything as the server's user.",
    )
    strict_instances: bool = _setting(
        False, "Refuse an instance larger than this machine instead of shrinking it."
    )
    precision: str = _setting(
        "auto",
        "What models are computed in: auto (the fastest that was checked against fp32), fp32, bf16 or int8. An "
        "endpoint's own variable of that name wins.",
        choices=tuple(Precision),
    )
    artifacts: str = _setting(
        "",
        "Folder of artifacts, also one that several machines share; default artifacts in the home.",
        like=(_are_folders, "an absolute path"),
    )
    warm_pool: int = _setting(
        1, "Processes that wait to become the next replica, each with some 45 MB of memory; 0: none."
    )
    hold_seconds: float = _setting(
        60.0, "How long a request waits for an endpoint that is asleep or starting."
    )
    startup_timeout: float = _setting(
        1800.0, "Seconds after which a revision that never became ready has failed."
    )
    drain_seconds: float = _setting(30.0, "How long a replica that leaves may finish its requests.")
    max_body_bytes: int = _setting(100_000_000, "Largest request body that the router forwards.")
    max_pending: int = _setting(
        1024, "Requests per endpoint in flight and waiting before 429 is answered.", least=1
    )
    head_timeout: float = _setting(
        15.0, "Seconds a client may take to send a request's head, from its first byte on."
    )
    body_timeout: float = _setting(60.0, "Seconds a client may pause while sending a request's body.")
    answer_timeout: float = _setting(
        600.0,
        "Seconds a replica may take to begin its answer, or to go on reading a request, before 504 is answered; "
        "0: as long as it likes.",
    )
    log_level: str = _setting(
        "info", "debug, info, warning or error.", choices=("debug", "info", "warning", "error")
    )
    log_format: str = _setting(
        "auto", "json, console, or auto (console on a terminal).", choices=("json", "console", "auto")
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check; `Invalid` names the variable that cannot be read and what was expected."""
        source = os.environ if env is None else env
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = PREFIX + item.name.upper()
            if name in source:
                values[item.name] = _parse(name, source[name], item)
        settings = cls(**values)
        object.__setattr__(settings, "home", settings.home.expanduser().absolute())
        return settings

    @property
    def url(self) -> str:
        """The public origin, without a trailing slash."""
        return self.public_url.rstrip("/") or self.near_url

    @property
    def near_url(self) -> str:
        """The origin for callers on this machine, whatever the public one is."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def own_url(self) -> str:
        """The origin of this installation alone, for callers elsewhere, as far as it can be told from here."""
        if self.host in ("0.0.0.0", "::", ""):
            return f"http://{socket.gethostname()}:{self.port}"
        return self.near_url

    @property
    def run_dir(self) -> Path:
        """Sockets of this installation: in the home, or in the temporary folder when the home's path is so long
        that a Unix socket below it could not be bound (the limit is about 100 bytes).
        """
        inside = self.home / "run"
        if len(bytes(inside)) <= LONGEST_RUN_DIR:
            return inside
        digest = hashlib.sha256(bytes(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"inlet-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def link_socket(self) -> Path:
        return self.run_dir / "link.sock"

    @property
    def downloads(self) -> Path:
        """Models of the Hub, shared by all replicas of this machine."""
        return self.home / "hub"

    @property
    def artifact_folder(self) -> Path:
        """What models are computed by, shared by all replicas of this machine."""
        return Path(self.artifacts).expanduser() if self.artifacts else self.home / "artifacts"

    @property
    def context_file(self) -> Path:
        """Where the command line on this machine finds URL and token (0600)."""
        return self.home / "context.json"

    def model_folders(self) -> tuple[Path, ...]:
        """Folders below which a local model may lie, resolved."""
        listed = [Path(p) for p in self.models.split(":") if p] or [Path.home()]
        return tuple(p.expanduser().resolve() for p in listed)


def secret_variables() -> tuple[str, ...]:
    """Names of the variables that hold secrets of the server."""
    return tuple(PREFIX + item.name.upper() for item in fields(Settings) if item.metadata["secret"])


def _parse(name: str, text: str, item: Field[Any]) -> Any:
    default: Any = item.default
    kind: type = type(default)
    choices, least, most = (item.metadata[key] for key in ("choices", "least", "most"))
    if kind is bool:
        return flag_of(text, field=name)
    if kind in (int, float):
        expected = ("a whole number" if kind is int else "a number of seconds") + (
            f", {least} or more" if most == math.inf else f" from {least} to {most}"
        )
        try:
            number = kind(text)
        except ValueError:
            raise Invalid(f"{text!r} is not {expected}", field=name) from None
        if not (least <= number <= most and math.isfinite(number)):
            raise Invalid(f"{text!r} is not {expected}", field=name)
        return number
    if choices and text.lower() not in choices:
        raise Invalid(f"{text!r} is not one of {', '.join(choices)}", field=name)
    like = item.metadata["like"]
    if text and like is not None and not like[0](text):
        shown = "its value" if item.metadata["secret"] else repr(text)
        raise Invalid(f"{shown} is not {like[1]}", field=name)
    return Path(text) if issubclass(kind, Path) else text
