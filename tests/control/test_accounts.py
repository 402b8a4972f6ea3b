"""Tokens, namespaces and whoami, through the real application."""

from __future__ import annotations

from typing import Any

from inlet.core.access import Grant
from inlet.core.routes import RESERVED_SEGMENTS
from tests.control.conftest import ADMINISTER, ALL_STORES, INFER, READ, WRITE, Api

pytestmark = ALL_STORES

TOKENS = "/api/inlet/tokens"
NAMESPACES = "/api/inlet/namespaces"


def wanted(*permissions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "ci", "permissions": list(permissions) or [{"permission": "read"}], **more}


async def test_a_token_from_birth_to_end(api: Api) -> None:
    read = {"permission": "read", "namespace": "default"}
    infer = {"permission": "infer", "namespace": "default", "endpoint": "mini"}
    made = await api.ok("POST", TOKENS, wanted(read, infer, expires_in_days=1.5))
    value = made.pop("token")
    assert value.startswith("inl_")
    assert made == {
        "id": made["id"],
        "name": "ci",
        "permissions": [{**read, "endpoint": None}, infer],
        "createdAt": "2026-11-18T11:06:40.000000Z",
        "expiresAt": "2026-11-19T23:06:40.000000Z",
        "revokedAt": None,
    }
    assert api.woken == [None]
    assert (await api.ok("GET", TOKENS))["items"] == [made]
    ci = api.as_(value)
    assert (await ci.ok("GET", "/v2/endpoint/default"))["items"] == []
    assert await api.ok("DELETE", f"{TOKENS}/{made['id']}") == {}
    assert api.woken == [None, None]
    await ci.refused(401, "GET", "/v2/endpoint/default")
    api.tick()
    await api.ok("DELETE", f"{TOKENS}/{made['id']}")
    listed = (await api.ok("GET", TOKENS))["items"]
    assert [token["revokedAt"] for token in listed] == ["2026-11-18T11:06:40.000000Z"]
    await api.refused(404, "DELETE", f"{TOKENS}/unknown")
    assert sum(value in response.text for response in api.seen) == 1


async def test_what_a_token_request_refuses(api: Api) -> None:
    for body, words in (
        ({}, "name: is required; permissions: is required"),
        (wanted(permissions=[]), "permissions: must not be empty"),
        (
            {**wanted({"permission": "read"}), "name": "a\x1b[31m"},
            "name: must be one line without control characters",
        ),
        (wanted({"permission": "own"}), "permissions.0.permission: must be one of read, write, infer, admin"),
        (wanted({"permission": "read", "namespace": "A B"}), "permissions.0.namespace: must match"),
        (wanted({"permission": "read", "namespace": "nowhere"}), "permissions.0.namespace: there is no"),
        (wanted({"permission": "read", "endpoint": "*"}), "permissions.0.endpoint: must be 1 to 32"),
        (wanted(expires_in_days=0), "expires_in_days: must be more than 0"),
        (wanted(expires_in_days="1"), "expires_in_days: must be a number"),
        (wanted(expires_in_days=1e300), "expires_in_days: must be 3650 or less"),
        (wanted(name=""), "name: must not be empty"),
        (wanted(nmae="x"), "nmae: is not a field"),
    ):
        assert (await api.refused(400, "POST", TOKENS, body)).startswith(words)
    assert await api.store.list_tokens() == []


async def test_nobody_gives_more_than_they_have(api: Api) -> None:
    admin = await api.grant(Grant(ADMINISTER, "default"))
    below = await api.grant(Grant(ADMINISTER, "default", "mini"))
    outside = await api.grant(Grant(READ, "acme"))
    del outside
    for grant in ({"permission": "read", "namespace": "acme"}, {"permission": "read"}):
        await admin.refused(403, "POST", TOKENS, wanted(grant))
    await below.refused(403, "POST", TOKENS, wanted({"permission": "infer", "namespace": "default"}))
    await admin.ok("POST", TOKENS, wanted({"permission": "admin", "namespace": "default"}))
    infer = {"permission": "infer", "namespace": "default", "endpoint": "mini"}
    await below.ok("POST", TOKENS, wanted(infer))
    all_tokens = (await api.ok("GET", TOKENS))["items"]
    seen = (await admin.ok("GET", TOKENS))["items"]
    assert (len(all_tokens), len(seen)) == (5, 4)
    assert len((await below.ok("GET", TOKENS))["items"]) == 2
    foreign = next(token["id"] for token in all_tokens if token not in seen)
    await admin.refused(404, "DELETE", f"{TOKENS}/{foreign}")


async def test_a_token_ends_no_later_than_the_one_that_makes_it(api: Api) -> None:
    half_a_day = await api.grant(Grant(ADMINISTER), expires_at=api.time[0] + 43_200)
    unasked = await half_a_day.ok("POST", TOKENS, wanted())
    assert unasked["expiresAt"] == "2026-11-18T23:06:40.000000Z"
    sooner = await half_a_day.ok("POST", TOKENS, wanted(expires_in_days=0.25))
    assert sooner["expiresAt"] == "2026-11-18T17:06:40.000000Z"
    refused = await half_a_day.refused(400, "POST", TOKENS, wanted(expires_in_days=0.75))
    assert refused == "expires_in_days: a token cannot outlive the one that makes it, which ends in 0.50 days"


async def test_namespaces(api: Api) -> None:
    assert await api.ok("GET", NAMESPACES) == {"items": [{"name": "default"}, {"name": "acme"}]}
    assert await api.ok("POST", NAMESPACES, {"name": "team-7"}) == {"name": "team-7"}
    assert await api.ok("GET", "/v2/endpoint/team-7") == {"items": [], "totalItems": 0}
    await api.refused(409, "POST", NAMESPACES, {"name": "team-7"})
    for name in ("Team", "a_b", "", "a/b", "x" * 33, None, *sorted(RESERVED_SEGMENTS)):
        assert (await api.refused(400, "POST", NAMESPACES, {"name": name})).startswith("name: ")
    somebody = await api.grant(Grant(READ, "acme"), Grant(READ, "gone"))
    assert await somebody.ok("GET", NAMESPACES) == {"items": [{"name": "acme"}]}


async def test_whoami(api: Api) -> None:
    me = await api.ok("GET", "/api/whoami-v2")
    assert (me["type"], me["name"], [org["name"] for org in me["orgs"]]) == ("user", "default", ["acme"])
    assert me["orgs"][0]["roleInOrg"] == "admin"
    assert me["auth"]["accessToken"]["role"] == "write"
    assert {"id", "fullname", "avatarUrl", "isPro"} <= set(me)
    made = await api.create()
    assert made["status"]["createdBy"]["id"] == me["id"]

    somebody = await api.grant(
        Grant(WRITE, "acme"), Grant(INFER, "default", "mini"), expires_at=api.time[0] + 1
    )
    me = await somebody.ok("GET", "/api/whoami-v2")
    assert (me["name"], [(org["name"], org["roleInOrg"]) for org in me["orgs"]]) == (
        "acme",
        [("default", "no_access")],
    )
    assert me["auth"]["expiresAt"] == "2026-11-18T11:06:41.000000Z"
    access = me["auth"]["accessToken"]
    assert access["role"] == "fineGrained"
    assert [(scope["entity"]["name"], scope["permissions"]) for scope in access["fineGrained"]["scoped"]] == [
        ("acme", ["inference.endpoints.read", "inference.endpoints.write"]),
        ("default/mini", ["inference.endpoints.infer.write"]),
    ]
    reader = await api.grant(Grant(READ))
    assert (await reader.ok("GET", "/api/whoami-v2"))["auth"]["accessToken"]["role"] == "read"
