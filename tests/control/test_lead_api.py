"""What the API says of where this control stands."""

from __future__ import annotations

from dataclasses import replace

import httpx

from inlet.control.app import build_app
from inlet.control.standing import Standing

from .conftest import ADMIN, Api

FOLLOWS = Standing(
    shared=True,
    leads=False,
    leader="http://a:8080",
    followers=("http://b:8080",),
    obstacle="the replicas run on another machine",
)


def standing_as(api: Api, standing: Standing) -> Api:
    app = build_app(
        store=api.store,
        backend=api.backend,
        vault=api.vault,
        settings=api.settings,
        wake=api.woken.append,
        clock=lambda: api.time[0],
        standing=lambda: standing,
    )
    return replace(api, app=app)


async def test_who_leads_is_told_to_whoever_has_a_token(api: Api) -> None:
    alone = await api.ok("GET", "/api/inlet/about")
    assert alone["control"] == {"shared": False, "leads": True, "leader": None, "followers": []}
    told = await standing_as(api, FOLLOWS).ok("GET", "/api/inlet/about")
    assert told["control"] == {
        "shared": True,
        "leads": False,
        "leader": "http://a:8080",
        "followers": ["http://b:8080"],
    }
    await api.as_(None).refused(401, "GET", "/api/inlet/about")
    assert ADMIN not in str(told)


async def test_the_router_is_told_what_keeps_it_from_serving(api: Api) -> None:
    async def health(of: Api) -> httpx.Response:
        return await of.as_(None).call("GET", "/healthz")

    assert (await health(api)).json() == {"status": "ok"}
    told = await health(standing_as(api, FOLLOWS))
    assert (told.status_code, told.json()["obstacle"]) == (200, "the replicas run on another machine")
