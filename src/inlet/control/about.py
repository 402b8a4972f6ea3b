"""The route that says which Inlet this is, and which of several controls leads.

Mounted by `control/app.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

import inlet
from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.openapi import BEARER
from inlet.control.standing import Standing


def routes(*, guard: Guard, standing: Callable[[], Standing]) -> APIRouter:
    """The route, over these parts."""
    router = APIRouter(dependencies=[BEARER], tags=["server"])

    @router.get("/api/inlet/about")
    async def about(request: Request) -> Response:
        """The version, and where this control stands: `shared` is whether others may be on its database."""
        await guard(request)
        now = standing()
        return answer(
            {
                "version": inlet.__version__,
                "control": {
                    "shared": now.shared,
                    "leads": now.leads,
                    "leader": now.leader,
                    "followers": list(now.followers),
                },
            }
        )

    return router
