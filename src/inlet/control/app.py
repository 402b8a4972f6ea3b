"""The control API as one ASGI application, built once per process from its parts.

Called by `control/__main__.py` and by tests. Holds nothing itself and keeps no globals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from fastapi import FastAPI
from starlette.responses import Response

import inlet
from inlet.backends.base import Backend
from inlet.control import accounts, answers, catalogue, endpoints, observability, openapi
from inlet.control.answers import answer
from inlet.control.auth import Guard
from inlet.control.bootstrap import preset_token
from inlet.control.commands import Commands
from inlet.control.vault import Vault
from inlet.control.views import Views
from inlet.sample import sample_folder
from inlet.settings import Settings
from inlet.store.base import Store


def build_app(
    *,
    store: Store,
    backend: Backend,
    vault: Vault,
    settings: Settings,
    wake: Callable[[str | None], None],
    clock: Callable[[], float],
) -> FastAPI:
    """The application. `wake(endpoint_id)` says that an intent was committed, `wake(None)` that tokens changed."""
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
    )
    views = Views(backend=backend, settings=settings)
    app.include_router(endpoints.routes(guard=guard, commands=commands, views=views, store=store))
    app.include_router(
        observability.routes(
            guard=guard, commands=commands, views=views, backend=backend, public_url=settings.url
        )
    )
    app.include_router(catalogue.routes(guard=guard, backend=backend, store=store))
    app.include_router(accounts.routes(guard=guard, store=store, wake=wake, clock=clock))
    _add_pages(app, settings)
    return app


def _add_pages(app: FastAPI, settings: Settings) -> None:
    """What needs no token and says nothing about anybody."""

    @app.get("/healthz", tags=["server"])
    async def healthz() -> Response:
        """Whether this process answers."""
        return answer({"status": "ok"})

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
