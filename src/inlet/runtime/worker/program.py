"""What a child is to run, and the other half of it in the replica: how requests become messages, and messages answers.

Made by `handler/opening` and `pipelines/opening` in a thread; used by `serving` and `process`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inlet.runtime.answers import Answer
from inlet.runtime.serving import Asked
from inlet.runtime.worker.frames import Message

CHILD = Path(__file__).with_name("child.py")
"""The child's side, which an interpreter is started with: `python -P child.py --fd N --program FILE`."""


class Question(Protocol):
    """A request that was read, and what becomes of the child's reply to it."""

    @property
    def message(self) -> Message:
        """The request for the child."""

    def answer(self, reply: Message) -> Answer:
        """The child's answer, for the caller; an `InletError` if it found something wrong with the request."""

    def stream(self, first: Message, rest: AsyncGenerator[Message, None]) -> Answer:
        """The same for one that comes in pieces, the first of which is here."""


class Interpreter(Protocol):
    """The half of a program that stays in the replica."""

    @property
    def task(self) -> str:
        """The task's present name."""

    def question(self, asked: Asked) -> Question:
        """The request, read; an `InletError` says what is wrong with it. Called in a thread where the body is large."""

    def describe(self) -> Mapping[str, Any]:
        """What `GET /info` says beside what it says of every model."""


class Watch(Protocol):
    """Looks after what no limit of the kernel bounds. Called in a thread."""

    def reason(self) -> str | None:
        """Why the child must go, as the end of a sentence about it; None if it may stay. Asked now and then."""

    def clear(self) -> None:
        """Undo what it did, once it is gone for that reason."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child puts on itself before it loads anything. `data`: bytes of memory that one process may ask for.

    `privileges`: whether programs that it starts may have more rights than it has.
    """

    data: int | None = None
    privileges: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """`name`: what it is called in the log and in messages. `file`: its path where the child runs, which `child` describes.

    `command` starts `child`, up to the flags; `seconds`: how long one request may take; `close`: undo what was set up for
    it.
    """

    name: str
    command: Sequence[str]
    file: str
    settings: Mapping[str, Any]
    env: Mapping[str, str]
    folder: Path
    seconds: float
    interpreter: Interpreter
    limits: Limits = field(default_factory=Limits)
    watch: Watch | None = None
    close: Callable[[], None] = lambda: None
