"""What answers the requests of a ready replica: the seam between HTTP and whatever computes.

`app` gives a `Serving` what it received and gets an answer. There are several kinds: an encoder with its batcher
(`encoding`), a model that is called once per request in a thread (`calls`) or in a child (`worker`), a server of its own behind the replica
(`foreign`, `generation`), and several models as one (`many`). A `Serving` never does model work on the event loop, and knows nothing of connections, drains or health. Beside the native route it has
those of other protocols that fit it (`protocols`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from inlet.core.errors import InletError
from inlet.runtime import answers
from inlet.runtime.answers import Answer
from inlet.runtime.body import MAX_BODY_BYTES
from inlet.runtime.dialect import Dialect, Shape, dialect_of, shapes_of
from inlet.runtime.options import Options


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came. Names of `headers` are in lower case; `default` is the endpoint's own dialect.

    `arrived`: the loop's time when it was here as a whole. `patience`: seconds from then until the work must have begun, None for
    as long as the replica allows.
    """

    path: str
    content: bytes
    headers: Mapping[str, str]
    query_string: str
    default: Dialect
    arrived: float
    patience: float | None

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.headers.get("user-agent", ""), self.default)

    @property
    def shapes(self) -> frozenset[Shape]:
        return shapes_of(self.headers.get("user-agent", ""))


@dataclass(frozen=True, slots=True)
class Route:
    """What one method at one path does in a protocol beside the native one, and how that protocol words a refusal."""

    respond: Callable[[Asked], Awaitable[Answer]]
    refuse: Callable[[InletError], Answer] = answers.from_error


class Serving(ABC):
    """A model with what computes it. A better one may take its place: then it ends with the last request that uses it."""

    max_body_bytes = MAX_BODY_BYTES

    def __init__(self) -> None:
        self._users = 0
        self._replaced = False

    @property
    @abstractmethod
    def task(self) -> str:
        """The task's present name."""

    @abstractmethod
    def admit(self, arrived: float, patience: float | None) -> None:
        """`TooMany` if a request of that time would wait too long in all. Costs next to nothing."""

    @abstractmethod
    async def answer(self, asked: Asked) -> Answer:
        """The native answer; an `InletError` says what is wrong with the request. Cancelling drops what has not begun.

        `TooMany` when the work has not begun within the request's patience.
        """

    def routes(self, path: str, options: Options) -> Mapping[str, Route]:
        """By method, what other protocols do at this path; empty where there is nothing."""
        from inlet.runtime.protocols.table import routes_of

        return routes_of(self, path, options)

    def does(self, task: str) -> bool:
        """Whether a request for that task, by its present name, can be meant for it."""
        return task == self.task

    @abstractmethod
    def describe(self, options: Options) -> Mapping[str, Any]:
        """What `GET /info` says."""

    @property
    def away(self) -> str | None:
        """Why nothing can be answered for now, in words; None when it can. The replica says then that it is not ready."""
        return None

    async def given_up(self) -> str | None:
        """Return when nothing can be answered any more, with the reason: the replica should end. None where that cannot be."""
        return None

    @abstractmethod
    def close(self) -> None:
        """End the threads after what they are doing."""

    @contextmanager
    def used(self) -> Iterator[None]:
        """Around every request that is computed by it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._end_when_unused()

    def replace(self) -> None:
        """No new request will use it."""
        self._replaced = True
        self._end_when_unused()

    def _end_when_unused(self) -> None:
        if self._replaced and self._users == 0:
            self.close()
