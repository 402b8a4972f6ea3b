"""The audit log, and the catalogue of recipes that is none, through the real application."""

from __future__ import annotations

from typing import Any

from inlet.core.access import Grant
from inlet.core.endpoint import State
from inlet.wire.v2.audit import AuditLog
from tests.control.conftest import BOTH_STORES, INFER, READ, WRITE, Api

pytestmark = BOTH_STORES

LOG = "/v2/audit-logs/default"


async def entries(api: Api, query: str = "") -> list[tuple[str, str]]:
    return [(e["endpoint"], e["reason"]) for e in (await api.ok("GET", f"{LOG}?{query}"))["list"]]


async def test_what_people_did_is_told_newest_first(api: Api) -> None:
    await api.create("a")
    await api.create("elsewhere", "acme")
    somebody = await api.grant(Grant(WRITE))
    await somebody.create("b")
    await api.set("a", state=State.RUNNING)  # what the control loop does is not in it
    await somebody.ok(
        "PUT", "/v2/endpoint/default/a", {"tags": ["nlp"], "model": {"secrets": {"KEY": "hush"}}}
    )
    await api.ok("POST", "/v2/endpoint/default/a/pause")
    await api.ok("POST", "/v2/endpoint/default/a/resume")
    await api.ok("DELETE", "/v2/endpoint/default/a")
    assert await entries(api) == [
        ("a", "endpointDeleted"), ("a", "endpointResumed"), ("a", "endpointPaused"), ("a", "endpointUpdated"),
        ("b", "endpointCreated"), ("a", "endpointCreated"),
    ]  # fmt: skip
    assert await entries(api, "endpoint=b") == [("b", "endpointCreated")]
    assert await entries(api, "username=somebody") == [("a", "endpointUpdated"), ("b", "endpointCreated")]
    assert await entries(api, "username=nobody") == []
    page = await api.ok("GET", LOG)
    AuditLog.model_validate(page)
    updated = page["list"][3]
    assert updated["user"] == {"id": None, "name": "somebody"}
    assert updated["createdAt"] == "2026-11-18T11:06:40.000000Z"
    assert updated["message"] == "updated: model.secrets, tags"
    assert "hush" not in str(page)
    by_id = {response.headers["x-request-id"] for response in (*api.seen, *somebody.seen)}
    assert {entry["requestId"] for entry in page["list"]} <= by_id


async def test_pages(api: Api) -> None:
    for i in range(5):
        await api.create(f"e{i}")
    first = await api.ok("GET", f"{LOG}?limit=2")
    second = await api.ok("GET", f"{LOG}?limit=2&cursor={first['next_cursor']}")
    await api.create("later")
    third = await api.ok("GET", f"{LOG}?limit=2&cursor={second['next_cursor']}")
    assert "next_cursor" not in third
    names = [entry["endpoint"] for page in (first, second, third) for entry in page["list"]]
    assert names == ["e4", "e3", "e2", "e1", "e0"]
    for cursor in ("x", "-1", "9" * 30, "%D9%A1"):
        assert (await api.refused(400, "GET", f"{LOG}?cursor={cursor}")).startswith("cursor: "), cursor
    await api.refused(400, "GET", f"{LOG}?limit=0")


async def test_who_may_read_it(api: Api) -> None:
    await api.create("a")
    await api.create("b")
    await api.as_(None).refused(401, "GET", LOG)
    await (await api.grant(Grant(INFER))).refused(403, "GET", LOG)
    await api.refused(404, "GET", "/v2/audit-logs/nowhere")
    narrow = await api.grant(Grant(READ, "default", "a"))
    await narrow.refused(403, "GET", LOG)
    await narrow.refused(403, "GET", f"{LOG}?endpoint=b")
    assert await entries(narrow, "endpoint=a") == [("a", "endpointCreated")]


async def test_there_are_no_recipes(api: Api) -> None:
    assert await api.ok("GET", "/api/v1/catalog/list?task=text-generation") == {"items": []}
    assert await api.ok("GET", "/api/catalog/repo-list") == {"models": []}
    body: dict[str, Any] = {"namespace": "default", "repoId": "acme/mini"}
    for path in ("v1/catalog/model/acme/mini", "v1/catalog/recipe/tasty-soup-1", "catalog"):
        assert "no catalogue" in await api.refused(404, "POST", f"/api/{path}/deploy", body)
        await api.as_(None).refused(401, "POST", f"/api/{path}/deploy", body)
