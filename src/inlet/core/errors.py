"""Every error that Inlet raises on purpose, as one tree.

    InletError
    ├── Invalid            400  a value that a person sent is wrong; says which field and what to do
    │   └── WrongState     400  the endpoint's state has no row for this intent
    ├── Unauthenticated    401  no token, or one that is not known (any more)
    ├── Forbidden          403  a known token that lacks the permission
    ├── NotFound           404
    ├── Conflict           409  the name is taken
    ├── TooLarge           413
    ├── Misdirected        421  only another server can answer this; says which
    ├── TooMany            429  overload: try again after `retry_after` seconds
    ├── Unavailable        503  something that we need is away; try again later
    │   └── BackendUnavailable   a failed observation or call; never to be read as an empty answer
    └── TimedOut           504  the work was begun, and took longer than it may
    Refused            500      a backend will not do it until a person acts (quota, bad image, forbidden)

Used by every package. An error becomes an HTTP answer in exactly one place per process (`control/answers.py`,
`router/answers.py`, `runtime/answers.py`). Messages never carry a secret, a token or a path outside the
person's own model folder.
"""

from __future__ import annotations


class InletError(Exception):
    """Base of the tree; `str()` is the one sentence that a person reads."""

    status = 500
    request_id: str | None = None  # set by the client, from the answer that this error was made of

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """Say what was wrong and what to do; `field` is the dotted path of the offending value, if there is one."""
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class Invalid(InletError):
    """A value that a person sent is wrong."""

    status = 400


class WrongState(Invalid):
    """The endpoint's state has no row for this intent."""


class Unauthenticated(InletError):
    """No token, or one that is not known (any more)."""

    status = 401


class Forbidden(InletError):
    """A known token that lacks the permission."""

    status = 403


class NotFound(InletError):
    """Nothing of that name, as far as the caller may know."""

    status = 404


class Conflict(InletError):
    """The name is taken."""

    status = 409


class TooLarge(InletError):
    """More bytes, items or tokens than the limit."""

    status = 413


class Misdirected(InletError):
    """Only another server can answer this; the message says which."""

    status = 421


class TooMany(InletError):
    """More work than can be done in time."""

    status = 429

    def __init__(self, message: str, *, retry_after: float) -> None:
        """`retry_after`: seconds after which the same request has a fair chance."""
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(InletError):
    """Something that we need is away; the same call may succeed later."""

    status = 503


class BackendUnavailable(Unavailable):
    """A backend could not be asked or told. Never to be read as an empty answer."""


class TimedOut(InletError):
    """The work was begun, and took longer than it may."""

    status = 504


class Refused(InletError):
    """A backend will not do it until a person acts; the message says what. No fault of a request that meets it."""
