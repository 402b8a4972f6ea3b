"""A command as it is configured, and as it is run at one address. Pure, but for the port that the system is asked for.

Made by `opening` and by `generation/opening`, used by `run`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inlet.core.errors import Refused

_PLACEHOLDER = re.compile(r"\{(port|other_port|socket|private|model)\}|\$(?:PORT\b|\{PORT\})")
_OURS = ("INLET_", "NOTIFY_SOCKET")
_MARK = "INLET_REPLICA_ID"  # by it, what outlives its replica is found

# What people are told when a program is not there.
_INSTALL = {
    "vllm": "pip install vllm",
    "sglang": "pip install 'sglang[all]'",
    "text-embeddings-router": "cargo install from github.com/huggingface/text-embeddings-inference",
    "text-generation-launcher": "build it from github.com/huggingface/text-generation-inference",
}


@dataclass(frozen=True, slots=True)
class Program:
    """`words` may hold `{port}` (or `$PORT`), `{socket}` and `{model}`; no shell reads them. What a program needs beside that for
    itself has places in `{other_port}`, a free one, and `{private}`, a folder.

    It listens on the Unix socket when a word names `{socket}`, else on a port of 127.0.0.1: `port`, or any free one, which it
    also finds in the variable PORT. `health` is the path that answers 2xx once it can serve. `folder` has the model's
    files, None when there are none. `variables` are added to this process's own.
    `title`: its name when its first word tells nothing.
    """

    words: tuple[str, ...]
    health: str = "/health"
    port: int | None = None
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def name(self) -> str:
        """The program, for people."""
        return self.title or Path(self.words[0]).name

    @property
    def on_socket(self) -> bool:
        return any("{socket}" in word for word in self.words)

    def address(self, private: Path) -> Address:
        """Where the next run listens; `private` is a folder that nobody else can enter."""
        if self.on_socket:
            return Address(private, socket=private / "program.sock")  # llama.cpp wants this ending
        return Address(private, port=self.port or _free_port())

    def command(self, address: Address) -> list[str]:
        """The words with everything filled in."""
        # Asked for only where it is needed, and the same wherever it stands.
        other = _free_port() if any("{other_port}" in word for word in self.words) else 0
        values = {
            "other_port": str(other),
            "port": str(address.port),
            "socket": str(address.socket),
            "private": str(address.private),
            "model": "" if self.folder is None else str(self.folder),
        }
        return [_PLACEHOLDER.sub(lambda found: values[found[1] or "port"], word) for word in self.words]

    def environment(self, address: Address) -> dict[str, str]:
        """All variables of the process."""
        env = {
            name: value for name, value in os.environ.items() if name == _MARK or not name.startswith(_OURS)
        }
        if address.port:
            env["PORT"] = str(address.port)
        if self.folder is not None:
            env["HF_MODEL_DIR"] = str(self.folder)
        return {**env, **self.variables}

    def missing(self) -> Refused:
        """What to say when there is no such program."""
        how = _INSTALL.get(self.name)
        hint = f": {how}" if how else ""
        return Refused(
            f"there is no program {self.words[0]!r} on this machine; install it so that it is on PATH{hint}",
            field="model.command",
        )


@dataclass(frozen=True, slots=True)
class Address:
    """A Unix socket, or a port of 127.0.0.1; and the folder that is the program's alone."""

    private: Path
    socket: Path | None = None
    port: int = 0


def _free_port() -> int:
    """One that nobody has now; whoever takes it before the program does makes that run fail, and the next has another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
