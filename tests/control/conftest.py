"""The real application over a real store, called in process: `api` speaks as an admin, `api.as_(…)` as anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from inlet.control.app import build_app
from inlet.control.tokens import mint
from inlet.control.vault import Vault, generate_key
from inlet.core.access import Grant, Permission
from inlet.core.endpoint import Endpoint
from inlet.settings import Settings
from inlet.store.base import Store
from inlet.store.memory import MemoryStore
from inlet.store.sql import SqlStore, database_url
from tests.control.quiet import QuietBackend

ADMIN = "preset-admin-token-for-tests"
T0 = 1_795_000_000.0
PATIENCE_S = 60.0  # with a database server, which gets its turn late on a busy machine


def create_body(name: str = "mini", **changes: Any) -> dict[str, Any]:
    """What huggingface_hub 2.4 sends for a create; `changes` are merged at the top level."""
    return {
        "compute": {
            "accelerator": "cpu",
            "instanceSize": "x1",
            "instanceType": "intel-spr",
            "scaling": {"maxReplica": 1, "minReplica": 1, "scaleToZeroTimeout": None},
        },
        "model": {
            "framework": "pytorch",
            "repository": "acme/mini",
            "revision": None,
            "image": {"huggingface": {}},
            "task": "text-classification",
        },
        "name": name,
        "provider": {"region": "us-east-1", "vendor": "aws"},
        "type": "authenticated",
        **changes,
    }


@dataclass
class Api:
    """One installation, and somebody who talks to it."""

    app: FastAPI
    store: Store
    backend: QuietBackend
    settings: Settings
    vault: Vault
    woken: list[str | None]
    time: list[float]
    token: str | None = ADMIN
    seen: list[httpx.Response] = field(default_factory=list)

    def tick(self, seconds: float = 1.0) -> None:
        self.time[0] += seconds

    def as_(self, token: str | None) -> Api:
        return replace(self, token=token)

    async def grant(self, *grants: Grant, **options: Any) -> Api:
        value, token = mint("somebody", grants, self.time[0], **options)
        await self.store.add_token(token)
        return self.as_(value)

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """`body` is sent as JSON unless it is bytes."""
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(body, bytes):
            options["content"] = body
        elif body is not None:
            options["json"] = body
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.request(method, path, headers=headers, **options)
        self.seen.append(response)
        return response

    async def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        response = await self.call(method, path, body, **options)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return response.json()

    async def refused(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> str:
        """The error's sentence, after its form was checked."""
        response = await self.call(method, path, body, **options)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/json"
        assert list(response.json()) == ["error"]
        sentence = response.json()["error"]
        assert isinstance(sentence, str)
        assert response.headers["x-error-message"]
        assert response.headers["x-request-id"]
        return sentence

    async def create(self, name: str = "mini", namespace: str = "default", **changes: Any) -> Any:
        return await self.ok("POST", f"/v2/endpoint/{namespace}", create_body(name, **changes))

    async def get(self, name: str = "mini", namespace: str = "default") -> Any:
        return await self.ok("GET", f"/v2/endpoint/{namespace}/{name}")

    async def put(self, body: Mapping[str, Any], name: str = "mini") -> Any:
        return await self.ok("PUT", f"/v2/endpoint/default/{name}", body)

    async def record(self, name: str = "mini") -> Endpoint:
        endpoint = await self.store.get_endpoint("default", name)
        assert endpoint is not None
        return endpoint

    async def set(self, name: str = "mini", **changes: Any) -> Endpoint:
        """Change the record as the control loop would."""
        committed = await self.store.commit(replace(await self.record(name), **changes))
        assert committed is not None
        return committed


BOTH_STORES = pytest.mark.parametrize("kind_of_store", ["memory", "sqlite"])
ALL_STORES = pytest.mark.parametrize("kind_of_store", ["memory", "sqlite", "postgresql"])
"""For modules in which what is stored and read again matters."""


@pytest.fixture
def kind_of_store() -> str:
    return "memory"


@pytest.fixture
async def store(kind_of_store: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if kind_of_store == "memory":
        made: Store = MemoryStore()
    elif kind_of_store == "postgresql":
        made = SqlStore(request.getfixturevalue("postgresql").database(), busy_timeout=PATIENCE_S)
    else:
        made = SqlStore(database_url(Settings(home=tmp_path / "home")))
        (tmp_path / "home").mkdir(exist_ok=True)
    await made.open()
    await made.add_namespace("default", T0)
    await made.add_namespace("acme", T0)
    yield made
    await made.close()


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> Api:
    home, models = tmp_path / "home", tmp_path / "models"
    home.mkdir(exist_ok=True)
    models.mkdir()
    settings = Settings(home=home, token=ADMIN, models=str(models), public_url="https://ml.example.com")
    backend, vault, woken, time = QuietBackend(), Vault([generate_key()]), [], [T0]
    app = build_app(
        store=store,
        backend=backend,
        vault=vault,
        settings=settings,
        wake=woken.append,
        clock=lambda: time[0],
    )
    return Api(app, store, backend, settings, vault, woken, time)


READ, WRITE, INFER, ADMINISTER = Permission.READ, Permission.WRITE, Permission.INFER, Permission.ADMIN
