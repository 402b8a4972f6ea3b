"""Values that break something somewhere (parsers, databases, headers, logs), put into every place of the API that takes one.

Nothing may answer 5xx, on any store. What is accepted must be shown again as it was sent.
"""

import copy
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from inlet.core.endpoint import State
from tests.control.conftest import ADMIN, Api, create_body

DATABASES = pytest.mark.parametrize("kind_of_store", ["sqlite", "postgresql"])
"""For what reaches a database; the rest is tried over the store in memory."""

STRINGS = [
    "", "a\0b", "\x1b[2J", "a\r\nX-Injected: 1", "\u202eini", "ｍini", "e\u0301", "\U0010ffff", "'; DROP TABLE endpoints; --", "%s",
    "../../etc/passwd", "1e309", "a" * 33, "😀" * 20_000, "*", "mini ", "١",
]  # fmt: skip
NUMBERS = [-1, 2**31, 2**64, 10**30, 0.5]
OTHERS: list[Any] = [None, True, [None], {"a": None}, {"\0": 1}]
VALUES = [*STRINGS, *NUMBERS, *OTHERS]
RAW = [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"}", b"{}{}", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b"{\xff}", b'{"a": NaN}',
    b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 1e400}', b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 0.' + b"1" * 5000 + b"}",
    b'{"name": "\\ud800"}', b'{"name": "\\udc00\\ud800"}', b'{"name": "\xed\xa0\x80"}', b'{"name": "\\u0000"}', b'{"name": 1, "name": 2}',
    b'{"name": "mini", "name": "other"}', b'{"a": 01}', b"{'a': 1}", b'{"a": 1,}', b'{"a" 1}', b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900,
    b"{" + b" " * 999_000 + b"}", b'{"a": "' + b"x" * 10_000_000 + b'"}', b"a=1&b=2", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--",
]  # fmt: skip
TOKEN = {
    "name": "t",
    "permissions": [{"permission": "infer", "namespace": "default", "endpoint": "mini"}],
    "expires_in_days": 1.0,
}


def everywhere(
    document: Any, values: list[Any], path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The document with each of the values in each of its places, and that place."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, below in items:
        for value in values:
            changed = copy.deepcopy(document)
            changed[key] = value
            yield (*path, key), changed
        if isinstance(below, dict | list):
            for place, inner in everywhere(below, values, (*path, key)):
                changed = copy.deepcopy(document)
                changed[key] = inner
                yield place, changed


def full() -> dict[str, Any]:
    """A create with every kind of field, which is accepted."""
    body = create_body(tags=["a"], notifications={"email": False})
    body["model"] |= {"env": {"A": "b"}, "secrets": {"S": "t"}, "args": [], "revision": "main"}
    body["compute"]["scaling"] |= {"measure": {"pendingRequests": 2}, "scaleToZeroTimeout": 15}
    return body


class Hostile:
    """Somebody who sends what they like, and looks at what comes back."""

    def __init__(self, api: Api, client: httpx.AsyncClient) -> None:
        self.api, self.client = api, client

    async def ask(self, method: str, path: str, body: Any = None, headers: Any = None) -> httpx.Response:
        """The answer, after it was seen that it is one of ours."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        response = await self.client.request(method, path, content=content, headers=headers)

        def what() -> tuple[str, ...]:
            return method, path[:80], str(body)[:300], response.text[:300]

        assert response.status_code < 500, what()
        assert "x-injected" not in response.headers
        assert response.headers["x-request-id"].isprintable()
        if response.status_code >= 400:
            assert set(response.json()) == {"error"}, what()
            assert len(response.text) < 6000, what()
        return response

    async def status(self, method: str, path: str, body: Any = None) -> int:
        return (await self.ask(method, path, body)).status_code

    async def forget(self, name: str) -> None:
        await self.api.set(name, state=State.GONE)


@pytest.fixture
async def hostile(api: Api) -> AsyncIterator[Hostile]:
    transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield Hostile(api, client)


@DATABASES
async def test_in_every_place_of_a_create(hostile: Hostile):
    assert await hostile.status("POST", "/v2/endpoint/default", full()) == 200
    await hostile.forget("mini")
    accepted = 0
    for place, body in everywhere(full(), VALUES):
        response = await hostile.ask("POST", "/v2/endpoint/default", body)
        assert response.status_code in (200, 400, 413)
        if response.status_code == 200:
            accepted += 1
            shown = (await hostile.ask("GET", f"/v2/endpoint/default/{body['name']}")).json()
            if place in (("model", "env", "A"), ("model", "repository"), ("tags", 0)):
                assert at(shown, place) == at(body, place)
            await hostile.forget(body["name"])
    assert accepted > 30


def at(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


async def test_in_every_place_of_an_update(hostile: Hostile):
    await hostile.api.create()
    accepted = 0
    for _, body in everywhere(full(), VALUES):
        status = await hostile.status("PUT", "/v2/endpoint/default/mini", body)
        assert status in (200, 400, 413)
        accepted += status == 200
    assert accepted > 30
    assert await hostile.status("GET", "/v2/endpoint/default/mini") == 200
    assert await hostile.status("GET", "/v2/endpoint/default") == 200


@DATABASES
async def test_in_every_place_of_a_token_and_a_namespace(hostile: Hostile):
    assert await hostile.status("POST", "/api/inlet/tokens", TOKEN) == 200
    for _, body in everywhere(TOKEN, VALUES):
        assert await hostile.status("POST", "/api/inlet/tokens", body) in (200, 400)
    assert await hostile.status("GET", "/api/inlet/tokens") == 200
    for value in VALUES:
        assert await hostile.status("POST", "/api/inlet/namespaces", {"name": value}) in (200, 400, 409)
    assert await hostile.status("GET", "/api/whoami-v2") == 200


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:40]))
async def test_bodies_that_are_hardly_json(hostile: Hostile, raw: bytes):
    await hostile.api.create()
    for method, path in (
        ("POST", "/v2/endpoint/default"),
        ("PUT", "/v2/endpoint/default/mini"),
        ("POST", "/endpoint"),
        ("PUT", "/endpoint/mini"),
        ("POST", "/api/inlet/tokens"),
        ("POST", "/api/inlet/namespaces"),
        ("POST", "/v2/endpoint/default/mini/pause"),
    ):
        assert await hostile.status(method, path, raw) in (200, 400, 413)


SHORT = [text for text in STRINGS if len(text) < 1000]


@DATABASES
async def test_in_every_place_of_a_path(hostile: Hostile):
    await hostile.api.create()
    for text in filter(None, SHORT):
        part = quote(text, safe="")
        for method, path in (
            ("GET", f"/v2/endpoint/{part}"),
            ("POST", f"/v2/endpoint/{part}"),
            ("GET", f"/v2/endpoint/default/{part}"),
            ("PUT", f"/v2/endpoint/default/{part}"),
            ("DELETE", f"/v2/endpoint/default/{part}"),
            ("POST", f"/v2/endpoint/default/{part}/pause"),
            ("GET", f"/v2/endpoint/{part}/mini"),
            ("GET", f"/v2/endpoint/default/{part}/logs"),
            ("GET", f"/v3/endpoint/default/{part}/logs"),
            ("GET", f"/v2/endpoint/default/{part}/replica"),
            ("GET", f"/v2/provider/{part}"),
            ("GET", f"/v2/search/{part}"),
            ("GET", f"/endpoint/{part}"),
            ("GET", f"/provider/{part}/region"),
            ("DELETE", f"/api/inlet/tokens/{part}"),
            ("GET", f"/{part}"),
        ):
            assert await hostile.status(method, path) in (200, 307, 400, 404, 405)


QUERIES = {
    "/v2/endpoint/default": ("tags", "search", "type", "task", "state", "sortBy", "direction", "limit", "cursor"),
    "/v2/search/default": ("tags", "search", "limit"),
    "/v2/endpoint/default/mini/logs": ("replica", "tail", "line_max_length"),
    "/v3/endpoint/default/mini/logs": ("replica", "level", "search", "since", "until", "after", "before", "limit", "order", "line_max_length"),
    "/v3/endpoint/default/mini/logs/download": ("replica", "level", "search", "since", "until", "after", "before"),
}  # fmt: skip


async def test_in_every_place_of_a_query(hostile: Hostile):
    await hostile.api.create()
    for path, names in QUERIES.items():
        for name in names:
            for value in [*SHORT, *map(str, NUMBERS)]:
                assert await hostile.status("GET", f"{path}?{name}={quote(value, safe='')}") in (200, 400)


async def test_who_has_no_token_is_told_that_first(api: Api):
    for text in ("since=never", "after=nothing", "search=x"):
        await api.as_(None).refused(401, "GET", f"/v3/endpoint/default/mini/logs?{text}")


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "X-Request-Id",
        "X-Amzn-Trace-Id",
        "Content-Type",
        "Accept",
        "Host",
        "X-Forwarded-Host",
        "Content-Length",
    ],
)
async def test_in_every_header(hostile: Hostile, name: str):
    for text in SHORT:
        value = text.encode().translate(None, b"\r\n")
        response = await hostile.ask("GET", "/v2/endpoint/default", headers={name.encode(): value})
        assert response.status_code in (200, 400, 401), (name, text)


def with_model(**changes: Any) -> dict[str, Any]:
    body = full()
    body["model"] |= changes
    return body


MANY = [
    full() | {"tags": [str(n) for n in range(64)]},
    full() | {"tags": [str(n) for n in range(20_000)]},
    full() | {"tags": ["same"] * 64},
    full() | {f"unknown{n}": n for n in range(10_000)},
    full() | {"unknown": {"deep": [[[[[[1]]]]]] * 1000}},
    with_model(env={f"E{n}": "v" for n in range(3000)}),
    with_model(env={f"E{n}": "v" * 300 for n in range(3000)}),
    with_model(secrets={f"S{n}": "t" * 100 for n in range(3000)}),
    with_model(env={"E" * 255: "v" * 32_768}),
    with_model(env={"E" * 256: "v"}),
    with_model(args=["x" * 1000] * 256),
]


async def test_very_many_of_everything(hostile: Hostile):
    statuses = []
    for body in MANY:
        statuses.append(status := await hostile.status("POST", "/v2/endpoint/default", body))
        if status == 200:
            assert await hostile.status("GET", "/v2/endpoint/default/mini") == 200
            await hostile.forget("mini")
    assert {200, 400} <= set(statuses) <= {200, 400, 413}
