"""Errors, request ids and the OpenAPI document: what every route shares."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from inlet.core.errors import Unavailable
from tests.control.conftest import Api


async def test_what_is_not_there(api: Api) -> None:
    for path in ("/v2/nothing", "/api/agent-harnesses", "/v2/endpoint/default/", "/endpoint/", "/docs", "/redoc",
                 "/v2/metrics/default"):  # fmt: skip
        assert path in await api.refused(404, "GET", path)
    response = await api.call("PATCH", "/v2/endpoint/default/mini")
    assert response.status_code == 405
    assert response.json() == {"error": "PATCH is not possible here; use DELETE or GET or PUT"}
    assert response.headers["allow"] == "DELETE, GET, PUT"


async def test_request_ids(api: Api) -> None:
    async def id_of(**headers: str) -> str:
        response = await api.call(
            "GET", "/healthz", headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        return response.headers["x-request-id"]

    assert await id_of(x_request_id="abc-1", x_amzn_trace_id="trace-1") == "abc-1"
    assert await id_of(x_amzn_trace_id="trace-1") == "trace-1"
    made = {await id_of() for _ in range(2)}
    assert len(made) == 2
    assert await id_of(x_request_id="x" * 200) not in ("x" * 200, "")
    response = await api.call("GET", "/v2/nothing", headers={"x-request-id": "abc-2"})
    assert response.headers["x-request-id"] == "abc-2"


async def test_an_error_fits_a_header(api: Api) -> None:
    response = await api.call("GET", "/v2/endpoint/default/m%C3%BC%0d%0aX-Evil:%20yes%F0%9F%A6%A6")
    assert response.status_code == 404
    assert "x-evil" not in response.headers
    assert response.headers["x-error-message"].isascii()


async def test_a_database_that_is_away(api: Api) -> None:
    await api.create()
    await api.store.close()
    response = await api.call("GET", "/v2/endpoint/default/mini")
    assert response.status_code == Unavailable.status
    assert response.headers["retry-after"] == "2"
    assert await api.ok("GET", "/healthz") == {"status": "ok"}


@pytest.mark.parametrize("kind_of_store", ["sqlite"])
async def test_a_record_that_a_newer_inlet_wrote(api: Api) -> None:
    await api.create()
    with closing(sqlite3.connect(api.settings.home / "inlet.db")) as database, database:
        database.execute("UPDATE endpoints SET record = json_set(record, '$.state', 'levitating')")
    refused = await api.refused(500, "GET", "/v2/endpoint/default/mini")
    assert refused.endswith(
        "cannot be read (at state); it may have been written by a newer Inlet: upgrade this one"
    )


async def test_a_bug_costs_one_answer_and_tells_no_story(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    @api.app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("the inner story")

    sentence = await api.refused(500, "GET", "/bug", headers={"x-request-id": "id-of-the-bug"})
    assert sentence == "Internal error; the server's log has it as id-of-the-bug"
    output = capsys.readouterr()
    assert "the inner story" in output.out + output.err


async def test_the_openapi_document(api: Api) -> None:
    document = await api.ok("GET", "/openapi.json")
    assert await api.ok("GET", "/api-doc/openapi.json") == document
    assert document["servers"] == [{"url": "https://ml.example.com"}]
    paths = document["paths"]
    for path, methods in {
        "/v2/endpoint/{namespace}": {"get", "post"},
        "/v2/endpoint/{namespace}/{name}": {"get", "put", "delete"},
        "/v2/endpoint/{namespace}/{name}/pause": {"post"},
        "/v2/endpoint/{namespace}/{name}/resume": {"post"},
        "/v2/endpoint/{namespace}/{name}/scale-to-zero": {"post"},
        "/v2/endpoint/{namespace}/{name}/replica": {"get"},
        "/v2/endpoint/{namespace}/{name}/logs": {"get"},
        "/v3/endpoint/{namespace}/{name}/logs": {"get"},
        "/v2/provider": {"get"},
        "/api/whoami-v2": {"get"},
        "/api/inlet/tokens": {"get", "post"},
    }.items():
        assert set(paths[path]) == methods, path
    operations = [operation for path in paths.values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    create = paths["/v2/endpoint/{namespace}"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Create")
    missing = [ref for ref in refs(document) if not resolves(document, ref)]
    assert missing == []
    assert document["components"]["schemas"]["Scaling"]["required"] == ["minReplica", "maxReplica"]


def refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for item in value.values() for ref in refs(item)]
    return [ref for item in value for ref in refs(item)] if isinstance(value, list) else []


def resolves(document: Any, ref: str) -> bool:
    node = document
    for part in ref.removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    return node is not None
