"""The native routes: `POST /`, `/predict`, `/invocations` and `/pipeline/{task}`, which every served model has beside its own.

Called by `app`, and by `many` for the one model that a request is meant for. Knows nothing of readiness.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from inlet.core.errors import NotFound
from inlet.runtime.answers import Answer
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Route, Serving

_PATHS = frozenset({"/", "/predict", "/invocations"})
_PIPELINE = "/pipeline/"


def is_native(path: str) -> bool:
    """Whether every model answers there."""
    return path in _PATHS or path.startswith(_PIPELINE)


def routes_of(served: Serving, path: str, options: Options) -> Mapping[str, Route]:
    """By method, what this model does at this path; empty where there is nothing."""
    if is_native(path):
        return {"POST": Route(partial(_answer, served))}
    return served.routes(path, options)


async def _answer(served: Serving, asked: Asked) -> Answer:
    if asked.path.startswith(_PIPELINE):
        from inlet.runtime.tasks import canonical

        wanted = asked.path.removeprefix(_PIPELINE)
        if not served.does(canonical(wanted)):
            raise NotFound(f"this endpoint does {served.task}, not {wanted!r}")
    return await served.answer(asked)
