"""The routes by which other machines take over the artifacts of this one, for admins of everything: they hold weights.

Mounted by `control/app.py`. Serves the folder as it is (`runtime/artifact/store.py` keeps it): what the files mean is the
business of whoever takes them, who also checks them against the names that are their hashes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.openapi import BEARER
from inlet.core.access import EVERYWHERE, Permission
from inlet.core.errors import NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"manifest\.json|graph\.(xml|bin)")


def routes(*, guard: Guard, folder: Path) -> APIRouter:
    """The routes, over that folder."""
    router = APIRouter(dependencies=[BEARER], tags=["artifacts"])

    @router.get("/api/inlet/artifacts")
    async def list_artifacts(request: Request) -> Response:
        """The manifests of all artifacts of this machine, by id."""
        caller = await guard(request)
        caller.require(Permission.ADMIN, EVERYWHERE)
        return answer({"items": await asyncio.to_thread(manifests, folder)})

    @router.get("/api/inlet/artifacts/{artifact}/{file}")
    async def read_artifact(request: Request, artifact: str, file: str) -> Response:
        """One file of an artifact: manifest.json, or one of those that it names."""
        caller = await guard(request)
        caller.require(Permission.ADMIN, EVERYWHERE)
        path = folder / artifact / file
        if not (_DIGEST.fullmatch(artifact) and _FILE.fullmatch(file) and path.is_file()):
            raise NotFound("there is no such artifact, or it has no such file")
        return FileResponse(path, media_type="application/octet-stream")

    return router


def manifests(folder: Path) -> list[dict[str, Any]]:
    """Those of the folder that can be read, each with its artifact's name."""
    if not folder.is_dir():
        return []
    found = []
    for name in sorted(path.name for path in folder.iterdir() if _DIGEST.fullmatch(path.name)):
        # Removed at this moment, or damaged: nobody can take it over.
        with contextlib.suppress(OSError, ValueError):
            found.append({"id": name, "manifest": json.loads((folder / name / "manifest.json").read_bytes())})
    return found
