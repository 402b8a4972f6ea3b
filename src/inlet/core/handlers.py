"""Whether a repository has a handler, and how its endpoint wants it to be run, as variables of its own. Pure.

Read by the API, which refuses what cannot be, and by replicas.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from inlet.core.errors import Invalid
from inlet.core.flags import flag_of, is_on

CLASSES = {"handler.py": "EndpointHandler", "pipeline.py": "PreTrainedPipeline"}
"""Files that may hold a handler, the present name first, each with the class that it must have."""
TASK = "custom"
"""Of what a handler answers."""
IGNORED = "IGNORE_CUSTOM_HANDLER"
TIMEOUT = "INLET_HANDLER_TIMEOUT"
ERROR_STATUS = "INLET_HANDLER_ERROR_STATUS"
ISOLATED = "INLET_HANDLER_ISOLATED"
_STATUSES = ("400", "500")


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """`ignored`: serve the model as if there were no handler. `seconds`: how long one request may take.

    `error_status`: of a request on which the handler raises. `isolated`: its packages are those of its `requirements.txt`
    only, without the server's.
    """

    ignored: bool
    seconds: float
    error_status: int
    isolated: bool


def handler_file(names: Collection[str]) -> str | None:
    """Its name, None if there is none. The older name is also used for other things beside a model that needs no handler."""
    if "handler.py" in names:
        return "handler.py"
    return "pipeline.py" if "pipeline.py" in names and "config.json" not in names else None


def is_ignored(environ: Mapping[str, str]) -> bool:
    """Whether the model is to be served as if there were no handler."""
    return is_on(environ.get(IGNORED, ""))


def handler_options(environ: Mapping[str, str]) -> HandlerOptions:
    """What these variables say; `Invalid` names the one that cannot be read."""
    return HandlerOptions(
        ignored=is_ignored(environ),
        seconds=seconds_of(environ.get(TIMEOUT) or "300"),
        error_status=status_of(environ.get(ERROR_STATUS) or "400"),
        isolated=isolated_of(environ.get(ISOLATED) or "0"),
    )


def seconds_of(text: str, *, field: str = TIMEOUT) -> float:
    """`Invalid` unless it is a number above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Invalid(f"{text!r} is not a number of seconds above 0", field=field)
    return seconds


def status_of(text: str, *, field: str = ERROR_STATUS) -> int:
    """`Invalid` unless it is one of the two that callers know."""
    if text.strip() not in _STATUSES:
        raise Invalid(f"{text!r} is neither {' nor '.join(_STATUSES)}", field=field)
    return int(text)


def isolated_of(text: str, *, field: str = ISOLATED) -> bool:
    """`Invalid` unless it is 1 or 0."""
    return flag_of(text, field=field)
