"""The older routes: a dialect of v2, so what is tried here is only what differs, and that the rest is the same."""

from __future__ import annotations

from typing import Any

import pytest

from inlet.backends.base import LogLine
from inlet.core.access import Grant
from inlet.core.catalogue import CATALOGUE
from inlet.wire import v1
from tests.control.conftest import ADMINISTER, BOTH_STORES, READ, T0, WRITE, Api

pytestmark = BOTH_STORES

# What hugie sends, from a configuration file.
CONFIG: dict[str, Any] = {
    "accountId": None,
    "type": "protected",
    "compute": {
        "accelerator": "cpu",
        "instanceSize": "small",
        "instanceType": "c6i",
        "scaling": {"minReplica": 1, "maxReplica": 1},
    },
    "model": {
        "framework": "custom",
        "image": {"huggingface": {}},
        "repository": "acme/mini",
        "revision": "main",
        "task": "feature-extraction",
    },
    "name": "mini",
    "provider": {"vendor": "aws", "region": "us-east-1"},
}


async def test_an_endpoint_through_its_life(api: Api) -> None:
    assert await api.ok("GET", "/endpoint") == {"items": []}
    made = await api.call("POST", "/endpoint", CONFIG)
    assert made.status_code == 202
    # An endpoint made there is an endpoint of v2, as it was sent.
    assert made.json() == await api.get()
    assert made.json()["compute"]["id"] == "aws-us-east-1-intel-icl-x1"
    for field in CONFIG.keys() - {"compute", "model"}:
        assert made.json()[field] == CONFIG[field]
    for part in ("compute", "model"):
        assert made.json()[part].items() >= CONFIG[part].items()
    listed = await api.ok("GET", "/endpoint")
    v1.Endpoints.model_validate(listed)
    assert listed == {"items": [made.json()]}
    # A complete object that changes nothing makes no revision.
    assert (await api.ok("PUT", "/endpoint/mini", CONFIG))["inlet"]["revision"] == 1
    changed = await api.ok(
        "PUT", "/endpoint/mini", {**CONFIG, "model": {**CONFIG["model"], "revision": "v2"}}
    )
    assert changed["inlet"]["revision"] == 2
    assert await api.ok("GET", "/endpoint/mini", {}) == changed
    assert await api.ok("DELETE", "/endpoint/mini", {}) == {}
    assert await api.ok("GET", "/endpoint") == {"items": []}
    kinds = {event.kind for event in await api.store.list_events(changed["inlet"]["endpointId"], limit=10)}
    assert kinds == {"endpointCreated", "endpointUpdated", "endpointDeleted"}


async def test_errors_are_those_of_v2(api: Api) -> None:
    assert "no endpoint 'nothing'" in await api.refused(404, "GET", "/endpoint/nothing", {})
    assert "no endpoint 'nothing'" in await api.refused(404, "PUT", "/endpoint/nothing", CONFIG)
    assert "no endpoint 'nothing'" in await api.refused(404, "DELETE", "/endpoint/nothing", {})
    assert "no endpoint 'nothing'" in await api.refused(404, "GET", "/endpoint/nothing/logs")
    assert (await api.refused(400, "POST", "/endpoint", {**CONFIG, "type": "secret"})).startswith("type: ")
    await api.call("POST", "/endpoint", CONFIG)
    assert "choose another" in await api.refused(409, "POST", "/endpoint", CONFIG)
    assert (await api.refused(400, "PUT", "/endpoint/mini", {"name": "other"})).startswith("name: ")
    for method, path in (("GET", "/endpoint"), ("POST", "/endpoint"), ("DELETE", "/endpoint/mini")):
        await api.as_(None).refused(401, method, path)


async def test_the_namespace_is_the_tokens_own(api: Api) -> None:
    theirs = await api.grant(Grant(WRITE, "acme"), Grant(READ, "default"))
    assert (await theirs.call("POST", "/endpoint", CONFIG)).status_code == 202
    await api.get(namespace="acme")
    assert [e["name"] for e in (await theirs.ok("GET", "/endpoint"))["items"]] == ["mini"]
    assert await api.ok("GET", "/endpoint") == {"items": []}
    everywhere = await api.grant(Grant(ADMINISTER))
    assert await everywhere.ok("GET", "/endpoint") == {"items": []}
    # Whoever may do nothing where their token leads is told so, whether or not there is such an endpoint.
    reader = await api.grant(Grant(READ, "acme"))
    assert "inference.endpoints.write on acme/mini" in await reader.refused(403, "DELETE", "/endpoint/mini")
    assert "on acme" in await reader.refused(403, "POST", "/endpoint", {**CONFIG, "name": "other"})
    lost = await api.grant(Grant(READ, "gone"))
    assert "on default" in await lost.refused(403, "GET", "/endpoint")


async def test_logs(api: Api) -> None:
    await api.call("POST", "/endpoint", CONFIG)
    api.backend.lines = [LogLine(T0, "r-1", "stdout", "starting"), LogLine(T0 + 1, "r-2", "stderr", "ready")]
    response = await api.call("GET", "/endpoint/mini/logs", {})
    assert (response.status_code, response.text) == (200, "starting\nready\n")
    assert response.headers["content-type"].startswith("text/plain")


async def test_hardware_is_listed_level_by_level_and_needs_no_token(api: Api) -> None:
    anybody = api.as_(None)
    vendors = (await anybody.ok("GET", "/provider"))["items"]
    assert {vendor["name"] for vendor in vendors} == {row.vendor for row in CATALOGUE}
    regions = (await anybody.ok("GET", "/provider/aws/region"))["items"]
    assert {region["name"] for region in regions} == {row.region for row in CATALOGUE if row.vendor == "aws"}
    computes = (await anybody.ok("GET", "/provider/aws/region/us-east-1/compute"))["items"]
    prices = {compute["id"]: compute["pricePerHour"] for compute in computes}
    assert prices["aws-us-east-1-intel-spr-x2"] == 0.067
    sentence = await anybody.refused(404, "GET", "/provider/ibm/region")
    assert sentence == "There is no vendor 'ibm'; there are: aws, azure, gcp"
    assert "no region 'mars'" in await anybody.refused(404, "GET", "/provider/aws/region/mars/compute")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_token_for_one_endpoint_goes_no_further(api: Api, method: str) -> None:
    narrow = await api.grant(Grant(WRITE, "default", "mini"))
    for name in ("mini", "other"):
        await api.call("POST", "/endpoint", {**CONFIG, "name": name})
    assert [e["name"] for e in (await narrow.ok("GET", "/endpoint"))["items"]] == ["mini"]
    await narrow.refused(403, method, "/endpoint/other", {})
    await narrow.ok(method, "/endpoint/mini", {})
