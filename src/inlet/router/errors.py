"""Errors that only the router raises; like all others they become answers in `answers.py`.

InletError
├── BadMessage      4xx, 505     the client's bytes are not a request that we accept; the connection ends
└── NotServing      400/429/503  the endpoint's state or load does not allow an answer; `state` says which
    └── BadGateway  502, 504     a replica was asked and did not answer as HTTP demands, or not in time
"""

from __future__ import annotations

from inlet.core.errors import InletError


class BadMessage(InletError):
    """A request that breaks HTTP or one of our limits. Always ends its connection: what follows cannot be trusted."""

    def __init__(self, status: int, message: str) -> None:
        """`status`: 400, 405, 408, 413, 414, 417, 431 or 505."""
        super().__init__(message)
        self.status = status


class NotServing(InletError):
    """No replica will answer. `state` is the endpoint's, on the wire's words; None for control."""

    status = 503

    def __init__(
        self, message: str, *, state: str | None, retry_after: float | None, status: int | None = None
    ) -> None:
        """`retry_after`: seconds after which the same request has a fair chance; None when time will not help."""
        super().__init__(message)
        self.state = state
        self.retry_after = retry_after
        if status is not None:
            self.status = status


class BadGateway(NotServing):
    """The replica's connection or answer broke before we could send a byte of it to the client."""

    status = 502
