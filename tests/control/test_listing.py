"""Filters, sorts and pages of the list, and the hardware listing, through the real application."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from inlet.core.catalogue import CATALOGUE
from inlet.core.endpoint import State
from inlet.wire.v2.provider import NO_QUOTA
from tests.control.conftest import ALL_STORES, Api, create_body

pytestmark = ALL_STORES

LIST = "/v2/endpoint/default"


async def names(api: Api, query: str = "") -> list[str]:
    listed = await api.ok("GET", f"{LIST}?{query}")
    assert listed["totalItems"] == len(listed["items"])
    return [item["name"] for item in listed["items"]]


async def fill(api: Api) -> None:
    """Three endpoints, a second apart: `beta-one` is oldest, `alpha` changed last."""
    classify = create_body()["model"]
    for name, tags, type_, task in (
        ("beta-one", ["nlp", "prod"], "public", "text-classification"),
        ("alpha", ["nlp"], "protected", "feature-extraction"),
        ("beta-two", [], "authenticated", None),
    ):
        await api.create(name, tags=tags, type=type_, model={**classify, "task": task})
        api.tick()
    await api.put({"tags": ["nlp", "new"]}, "alpha")
    await api.set("beta-one", state=State.RUNNING)
    await api.set("beta-two", state=State.SCALED_TO_ZERO)


async def test_filters_and_sorts(api: Api) -> None:
    await fill(api)
    newest_first = ["beta-two", "alpha", "beta-one"]
    for query, expected in (
        ("", newest_first),
        ("sortBy=createdAt&direction=asc", newest_first[::-1]),
        ("sortBy=updatedAt", ["alpha", "beta-two", "beta-one"]),
        ("sortBy=name&direction=asc", ["alpha", "beta-one", "beta-two"]),
        ("sortBy=name", ["beta-two", "beta-one", "alpha"]),
        ("search=beta", ["beta-two", "beta-one"]),
        ("search=ETA-O", ["beta-one"]),
        ("tags=nlp", ["alpha", "beta-one"]),
        ("tags=nlp,prod", ["beta-one"]),
        ("tags=", newest_first),
        ("tags=nothing", []),
        ("type=public,protected", ["alpha", "beta-one"]),
        ("type=private", ["alpha"]),
        ("task=feature-extraction", ["alpha"]),
        ("state=running,scaledToZero", ["beta-two", "beta-one"]),
        ("state=pending&type=protected&search=a", ["alpha"]),
    ):
        assert await names(api, query) == expected, query
    for query, words in (
        ("state=sleeping", 'state: knows no state "sleeping"; there are: pending'),
        ("state=gone", "state: knows no state"),
        ("type=secret", "type: knows no type"),
        ("task=poetry", "task: knows no task"),
        ("sortBy=size", "query.sortBy: "),
        ("direction=up", "query.direction: "),
        ("limit=0", "query.limit: must be 1 or more"),
        ("limit=x", 'query.limit: must be a whole number, not "x"'),
        ("cursor=x", "cursor: is not a cursor of a list"),
        ("cursor=" + quote("ä"), "cursor: is not a cursor of a list"),
    ):
        assert (await api.refused(400, "GET", f"{LIST}?{query}")).startswith(words), query


async def test_a_plain_list_is_complete_and_pages_are_asked_for(api: Api) -> None:
    made = [f"e{i:02}" for i in range(25)]
    for name in made:
        await api.create(name)
        api.tick()
    assert await names(api) == made[::-1]
    first = await api.ok("GET", f"{LIST}?limit=10&sortBy=name&direction=asc")
    assert (len(first["items"]), first["totalItems"], "prevCursor" in first) == (10, 25, False)

    async def follow(page: Any, which: str) -> Any:
        return await api.ok("GET", f"{LIST}?limit=10&sortBy=name&direction=asc&cursor={page[which]}")

    def of(page: Any) -> list[str]:
        return [item["name"] for item in page["items"]]

    second = await follow(first, "nextCursor")
    third = await follow(second, "nextCursor")
    assert of(first) + of(second) + of(third) == made
    assert "nextCursor" not in third
    assert of(await follow(third, "prevCursor")) == of(second)
    assert of(await follow(second, "prevCursor")) == of(first)
    # Pages stay right when what the cursor names is gone.
    await api.ok("DELETE", f"{LIST}/e09")
    await api.ok("DELETE", f"{LIST}/e10")
    assert of(await follow(first, "nextCursor")) == made[11:21]
    newest = await api.ok("GET", f"{LIST}?limit=20")
    assert of(await api.ok("GET", f"{LIST}?cursor={newest['nextCursor']}")) == made[2::-1]
    await api.refused(400, "GET", f"{LIST}?sortBy=name&cursor={newest['nextCursor']}")


async def test_search(api: Api) -> None:
    await fill(api)
    assert await api.ok("GET", "/v2/search/default?search=beta&limit=1") == {"items": [{"name": "beta-one"}]}
    assert await api.ok("GET", "/v2/search/default?tags=nlp") == {
        "items": [{"name": "alpha"}, {"name": "beta-one"}]
    }


async def test_hardware(api: Api) -> None:
    listed = await api.as_(None).ok("GET", "/v2/provider")
    computes = [c for v in listed["vendors"] for r in v["regions"] for c in r["computes"]]
    assert {c["id"] for c in computes} == {row.id for row in CATALOGUE}
    aws = next(v for v in listed["vendors"] if v["name"] == "aws")
    virginia = next(r for r in aws["regions"] if r["name"] == "us-east-1")
    assert (aws["status"], virginia["label"], virginia["status"]) == ("available", "N. Virginia", "available")
    x2 = next(c for c in virginia["computes"] if c["id"] == "aws-us-east-1-intel-spr-x2")
    assert x2 == {
        "id": "aws-us-east-1-intel-spr-x2", "accelerator": "cpu", "numAccelerators": 1, "numCpus": 2,
        "memoryGb": 4.0, "gpuMemoryGb": None, "instanceType": "intel-spr", "instanceSize": "x2",
        "architecture": "Intel Sapphire Rapids", "status": "available", "pricePerHour": 0.067,
        "quota": {"maxAccelerators": NO_QUOTA, "usedAccelerators": 0},
    }  # fmt: skip
    t4 = next(c for c in virginia["computes"] if c["id"] == "aws-us-east-1-nvidia-t4-x1")
    assert t4["status"] == "not_available"

    await api.create("one")
    await api.set("one", replicas=3)
    await api.create("two")
    await api.set("two", state=State.SCALED_TO_ZERO, replicas=0)
    await api.create("three")
    await api.set("three", state=State.PAUSED, replicas=0)
    await api.create("four", "acme")
    listed = await api.ok("GET", "/v2/provider/default")
    used = {
        c["id"]: c["quota"]["usedAccelerators"]
        for v in listed["vendors"] for r in v["regions"] for c in r["computes"]
    }  # fmt: skip
    assert (used["aws-us-east-1-intel-spr-x1"], used["aws-us-east-2-intel-spr-x1"]) == (4, 0)
    quotas = await api.ok("GET", "/v2/provider/quotas/default")
    aws = next(v for v in quotas["vendors"] if v["name"] == "aws")
    assert next(q for q in aws["quotas"] if q["instanceType"] == "intel-spr") == {
        "instanceType": "intel-spr",
        "architecture": "Intel Sapphire Rapids",
        "maxAccelerators": NO_QUOTA,
        "usedAccelerators": 4,
    }
    api.backend.away = True
    await api.refused(503, "GET", "/v2/provider")


async def test_a_cursor_nested_absurdly_deep_is_no_crash(api: Api) -> None:
    cursor = base64.urlsafe_b64encode(b"[" * 5000).decode()
    assert "cursor" in await api.refused(400, "GET", f"/v2/endpoint/default?cursor={cursor}")
