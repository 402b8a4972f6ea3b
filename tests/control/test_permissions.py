"""Who may do what: every route against every kind of token, through the real application."""

from __future__ import annotations

import pytest

from inlet.core.access import Grant
from tests.control.conftest import ADMINISTER, INFER, READ, WRITE, Api, create_body

MINI = "/v2/endpoint/default/mini"
READING = (
    ("GET", MINI),
    ("GET", f"{MINI}/replica"),
    ("GET", f"{MINI}/logs"),
    ("GET", MINI.replace("v2", "v3") + "/logs"),
    ("GET", MINI.replace("v2", "v3") + "/logs/download"),
)
WRITING = (
    ("PUT", MINI),
    ("POST", f"{MINI}/pause"),
    ("POST", f"{MINI}/resume"),
    ("DELETE", MINI),
    ("POST", "/v2/endpoint/default"),
)
LISTING = (("GET", "/v2/endpoint/default"), ("GET", "/v2/search/default"))
SEEING = (("GET", "/v2/provider/default"), ("GET", "/v2/provider/quotas/default"))
MANAGING = (("GET", "/api/inlet/tokens"), ("POST", "/api/inlet/tokens"), ("DELETE", "/api/inlet/tokens/x"))
ANY = (("GET", "/api/whoami-v2"), ("GET", "/api/inlet/namespaces"))
GLOBAL = (("POST", "/api/inlet/namespaces"),)
EVERYTHING = {*READING, *WRITING, *LISTING, *SEEING, *MANAGING, *ANY, *GLOBAL}

# who, and the calls that are not refused with 403
MATRIX = [
    ((Grant(READ),), {*READING, *LISTING, *SEEING, *ANY}),
    ((Grant(READ, "default"),), {*READING, *LISTING, *SEEING, *ANY}),
    ((Grant(READ, "default", "mini"),), {*READING, *LISTING, *SEEING, *ANY}),
    ((Grant(READ, "default", "other"),), {*LISTING, *SEEING, *ANY}),
    ((Grant(READ, "acme"),), {*ANY}),
    ((Grant(WRITE, "default"),), {*READING, *WRITING, *LISTING, *SEEING, *ANY}),
    ((Grant(WRITE, "default", "mini"),), {*READING, *WRITING, *LISTING, *SEEING, *ANY}),
    ((Grant(WRITE, "default", "other"),), {*LISTING, *SEEING, *ANY}),
    ((Grant(INFER),), {*SEEING, *ANY}),
    ((Grant(INFER, "default", "mini"),), {*SEEING, *ANY}),
    ((Grant(ADMINISTER, "default"),), EVERYTHING - {*GLOBAL}),
    ((Grant(ADMINISTER, "acme"),), {*MANAGING, *ANY}),
    ((Grant(ADMINISTER),), EVERYTHING),
]  # fmt: skip


@pytest.mark.parametrize(("grants", "allowed"), MATRIX)
async def test_the_permission_matrix(
    api: Api, grants: tuple[Grant, ...], allowed: set[tuple[str, str]]
) -> None:
    await api.create()
    somebody = await api.grant(*grants)
    answered = set()
    for method, path in sorted(EVERYTHING, key=lambda call: call[0] == "DELETE"):
        body = create_body() if path == "/v2/endpoint/default" and method == "POST" else None
        response = await somebody.call(method, path, body)
        assert response.status_code in (200, 400, 403, 404, 409)
        if response.status_code == 403:
            assert response.headers["x-error-message"] == response.json()["error"]
        else:
            answered.add((method, path))
    assert answered == allowed


async def test_nobody_in_particular(api: Api) -> None:
    await api.create()
    for method, path in EVERYTHING:
        for token in (None, "", "inl_wrong"):
            assert "oken" in await api.as_(token).refused(401, method, path)
    headers = {"Authorization": "Basic cHJlc2V0"}
    await api.as_(None).refused(401, "GET", MINI, headers=headers)
    response = await api.as_(None).call("GET", MINI)
    assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/", "/v2/provider", "/openapi.json", "/api-doc/openapi.json"):
        await api.as_(None).ok("GET", path)


async def test_names_of_the_permissions(api: Api) -> None:
    somebody = await api.grant(Grant(INFER, "default"))
    assert "inference.endpoints.read on default/mini" in await somebody.refused(403, "GET", MINI)
    assert "inference.endpoints.write on default/mini" in await somebody.refused(403, "DELETE", MINI)


async def test_what_does_not_exist_is_told_to_those_who_might_have_read_it(api: Api) -> None:
    everywhere, one, other = (
        await api.grant(Grant(WRITE)),
        await api.grant(Grant(READ, "default", "mini")),
        await api.grant(Grant(READ, "acme")),
    )
    assert "no namespace 'nowhere'" in await everywhere.refused(404, "GET", "/v2/endpoint/nowhere")
    await everywhere.refused(404, "POST", "/v2/endpoint/nowhere", create_body())
    await everywhere.refused(404, "GET", "/v2/provider/nowhere")
    await other.refused(403, "GET", "/v2/endpoint/nowhere")
    await other.refused(403, "GET", "/v2/provider/nowhere")
    await other.refused(403, "POST", "/v2/endpoint/nowhere", create_body())
    await one.refused(404, "GET", MINI)
    await one.refused(403, "GET", "/v2/endpoint/default/other")


async def test_a_list_shows_what_may_be_read(api: Api) -> None:
    await api.create("one")
    await api.create("two")
    somebody = await api.grant(Grant(READ, "default", "one"), Grant(INFER, "default", "two"))
    listed = await somebody.ok("GET", "/v2/endpoint/default")
    assert ([item["name"] for item in listed["items"]], listed["totalItems"]) == (["one"], 1)
    assert await somebody.ok("GET", "/v2/search/default") == {"items": [{"name": "one"}]}


async def test_a_token_for_one_endpoint_may_make_that_one(api: Api) -> None:
    somebody = await api.grant(Grant(WRITE, "default", "mini"))
    await somebody.refused(403, "POST", "/v2/endpoint/default", create_body("other"))
    await somebody.refused(403, "POST", "/v2/endpoint/default", {})
    made = await somebody.create("mini")
    assert made["status"]["createdBy"]["name"] == "somebody"


async def test_tokens_that_are_over(api: Api) -> None:
    await api.create()
    somebody = await api.grant(Grant(READ), expires_at=api.time[0] + 10)
    await somebody.ok("GET", MINI)
    api.tick(10)
    assert "expired" in await somebody.refused(401, "GET", MINI)
    other = await api.grant(Grant(READ))
    await other.ok("GET", MINI)
    await api.store.revoke_token((await api.store.list_tokens())[-1].id, api.time[0])
    await other.refused(401, "GET", MINI)
