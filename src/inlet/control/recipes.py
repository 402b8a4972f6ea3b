"""Routes of the catalogue of tested recipes, which this server does not have: it is empty, and says so.

Mounted by `control/app.py`. The official command line asks for it; two generations of it know it by different paths.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.openapi import BEARER
from inlet.core.errors import NotFound


def routes(*, guard: Guard) -> APIRouter:
    """The routes."""
    router = APIRouter(dependencies=[BEARER], tags=["recipes"])

    async def list_recipes(request: Request) -> Response:
        """No recipes."""
        await guard(request)
        return answer({"items": []})

    async def list_recipe_repositories(request: Request) -> Response:
        """No repositories with recipes, as clients before 2.0 ask for them."""
        await guard(request)
        return answer({"models": []})

    async def deploy_recipe(request: Request) -> Response:
        """Refused: there is no recipe."""
        await guard(request)
        raise NotFound(
            "This server has no catalogue of tested recipes: deploy the repository by its name, on an instance "
            "that GET /v2/provider lists"
        )

    router.add_api_route("/api/v1/catalog/list", list_recipes, methods=["GET"])
    router.add_api_route("/api/catalog/repo-list", list_recipe_repositories, methods=["GET"])
    for path in ("v1/catalog/model/{owner}/{name}", "v1/catalog/recipe/{recipe}", "catalog"):
        router.add_api_route(f"/api/{path}/deploy", deploy_recipe, methods=["POST"])
    return router
