"""The control API as one ASGI application, built once per process from its parts.

Called by `control/__main__.py` and by tests. Holds nothing itself and keeps no globals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from fastapi import FastAPI
from starlette.responses import Response

import inlet
from inlet.backends.base import Watched
from inlet.control import (
    about,
    accounts,
    answers,
    artifacts,
    audit,
    catalogue,
    endpoints,
    observability,
    openapi,
    recipes,
    v1,
)
from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.bootstrap import preset_token
from inlet.control.commands import Commands
from inlet.control.operations import Operations
from inlet.control.standing import Standing
from inlet.control.vault import Vault
from inlet.control.views import Views
from inlet.sample import sample_folder
from inlet.settings import Settings
from inlet.store.base import Store


def build_app(
    *,
    store: Store,
    backend: Watched,
    vault: Vault,
    settings: Settings,
    wake: Callable[[str | None], None],
    clock: Callable[[], float],
    standing: Callable[[], Standing] = Standing,
) -> FastAPI:
    """The application. `wake(endpoint_id)` says that an intent was committed, `wake(None)` that tokens changed.

    `standing` answers where this control stands among several; without it, it is the only one.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    answers.install(app)
    guard = Guard(store=store, preset=preset_token(settings), clock=clock)
    sample = sample_folder()
    commands = Commands(
        store=store,
        backend=backend,
        vault=vault,
        folders=(*settings.model_folders(), *(() if sample is None else (sample,))),
        home=settings.home,
        wake=wake,
        clock=clock,
        allow_commands=settings.allow_commands,
    )
    views = Views(backend=backend, settings=settings)
    operations = Operations(guard=guard, commands=commands, store=store)
    app.include_router(endpoints.routes(guard=guard, operations=operations, commands=commands, views=views))
    app.include_router(
        observability.routes(
            guard=guard, operations=operations, views=views, backend=backend, public_url=settings.url
        )
    )
    app.include_router(audit.routes(guard=guard, store=store))
    app.include_router(catalogue.routes(guard=guard, backend=backend, store=store))
    app.include_router(recipes.routes(guard=guard))
    app.include_router(
        v1.routes(guard=guard, operations=operations, views=views, backend=backend, store=store)
    )
    app.include_router(accounts.routes(guard=guard, store=store, wake=wake, clock=clock))
    app.include_router(artifacts.routes(guard=guard, folder=settings.artifact_folder))
    app.include_router(about.routes(guard=guard, standing=standing))
    _add_pages(app, settings, standing)
    return app


def _add_pages(app: FastAPI, settings: Settings, standing: Callable[[], Standing]) -> None:
    """What needs no token and says nothing about anybody."""

    @app.get("/healthz", tags=["server"])
    async def healthz() -> Response:
        """Whether this process answers; to the router also what keeps it from serving, if anything does."""
        obstacle = standing().obstacle
        return answer({"status": "ok"} if obstacle is None else {"status": "ok", "obstacle": obstacle})

    @app.get("/", tags=["server"])
    async def root() -> Response:
        """Where to go from here."""
        return answer(
            {
                "name": "Inlet",
                "version": inlet.__version__,
                "api": f"{settings.url}/v2",
                "openapi": f"{settings.url}/openapi.json",
            }
        )

    document = functools.cache(lambda: openapi.document(app, version=inlet.__version__, url=settings.url))

    def openapi_document() -> Response:  # not async: making it takes a while, so it is made beside the loop
        return answer(document())

    for path in ("/openapi.json", "/api-doc/openapi.json"):
        app.add_api_route(path, openapi_document, include_in_schema=False)
