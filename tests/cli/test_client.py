"""The SDK, both kinds, against a real HTTP server."""

import inspect

import pytest

from inlet.client import AsyncClient, Client, EndpointInfo, endpoint_document
from inlet.core.access import Grant, Permission
from inlet.core.errors import (
    Conflict,
    Forbidden,
    InletError,
    Invalid,
    NotFound,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
    WrongState,
)
from tests.cli.standin import ANSWER, TOKEN, Api, Refusal


def test_the_two_clients_are_the_same_but_for_asyncio() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(parameter) for parameter in inspect.signature(member).parameters.values()]
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)
    assert len(surface(Client)) > 20


def test_a_life_blocking(api: Api) -> None:
    looks: list[str] = []
    api.log("first line", "second line")
    with Client(api.url, TOKEN) as client:
        made = client.create_endpoint(endpoint_document("mini", "org/model", min_replica=0))
        assert (made.state, made.url, made.running) == ("pending", None, False)
        ready = client.wait("mini", timeout=30, on_progress=lambda seen: looks.append(seen.state))
        assert looks == ["pending", "initializing", "running"]
        assert ready.url == f"{api.url}/default/mini"
        assert ready.raw == client.get_endpoint("mini").raw
        assert (ready.monthly_cost_minimum, ready.monthly_cost, ready.limits) == (
            0.0,
            24.09,
            "best effort: 2 vCPU (affinity); enforced: 2 GB (cgroup v2)",
        )
        assert client.predict("mini", "hi", parameters={"top_k": 1}) == ANSWER
        assert api.seen[-1] == ("POST", "/default/mini", {"inputs": "hi", "parameters": {"top_k": 1}})
        assert [e.name for e in client.list_endpoints()] == ["mini"]
        assert client.update_endpoint("mini", {"tags": ["a"]}).tags == ("a",)
        assert list(client.logs("mini", tail=5)) == ["first line", "second line"]
        assert client.replicas("mini")[0]["id"] == "r-1"
        assert client.pause("mini").state == "paused"
        with pytest.raises(WrongState, match="paused"):
            client.wait("mini")
        assert client.resume("mini").state == "pending"
        assert client.scale_to_zero("mini").state == "scaledToZero"
        client.delete_endpoint("mini")
        assert client.create_token("t", [Grant(Permission.READ)])["token"].startswith("inl_")
        client.revoke_token(client.list_tokens()[0]["id"])
        client.create_namespace("team")
        assert client.list_namespaces() == [{"name": name} for name in ("default", "acme", "team")]
        assert client.hardware()["vendors"]
    assert len([path for _, path, _ in api.seen if path == "/api/whoami-v2"]) == 1, "asked once"


async def test_a_life_with_asyncio(api: Api) -> None:
    api.log("first line", "second line")
    async with AsyncClient(api.url, TOKEN, namespace="acme") as client:
        await client.create_endpoint(endpoint_document("mini", "org/model"))
        ready = await client.wait("mini", timeout=30)
        assert ready.url == f"{api.url}/acme/mini"
        assert await client.predict("mini", "hi") == ANSWER
        assert [line async for line in client.logs("mini")] == ["first line", "second line"]
        assert (await client.pause("mini")).state == "paused"
        await client.delete_endpoint("mini")
        with pytest.raises(NotFound, match="'mini'"):
            await client.get_endpoint("mini")
        with pytest.raises(NotFound):
            [line async for line in client.logs("mini")]
        assert (await client.whoami())["name"] == "default"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (429, TooMany),
        (502, Unavailable),
        (503, Unavailable),
        (500, InletError),
        (418, InletError),
    ],
)
def test_errors_are_of_their_status_and_carry_the_servers_words(
    api: Api, status: int, kind: type[InletError]
) -> None:
    api.refusal = Refusal(status, "so it is", **{"Retry-After": "7"})
    with Client(api.url, TOKEN) as client, pytest.raises(InletError, match=r"^so it is$") as caught:
        client.whoami()
    assert type(caught.value) is kind
    assert caught.value.request_id == "req-7"
    if isinstance(caught.value, TooMany):
        assert caught.value.retry_after == 7.0


def test_waiting_for_what_fails_says_why(api: Api) -> None:
    with Client(api.url, TOKEN) as client:
        client.create_endpoint(endpoint_document("mini", "org/bad"))
        with pytest.raises(Refused, match=r"no config\.json"):
            client.wait("mini")


def test_waiting_has_an_end(api: Api) -> None:
    api.stuck = True
    with Client(api.url, TOKEN) as client:
        client.create_endpoint(endpoint_document("mini", "org/model"))
        with pytest.raises(Unavailable, match="not ready within 0 s: pending"):
            client.wait("mini", timeout=0)


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", TOKEN) as client:
        with pytest.raises(Unavailable, match=r"http://127.0.0.1:9 cannot be reached"):
            client.whoami()
        with pytest.raises(Unavailable):
            list(client.logs("a", namespace="b"))


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("127.0.0.1:8080", "t"),
        ("ftp://h", "t"),
        ("http://", "t"),
        ("http://h", "ü"),
        ("http://h", ""),
        ("http://h", "a\nb"),
    ],
)
def test_what_cannot_be_an_address_or_a_token(url: str, token: str) -> None:
    with pytest.raises(Invalid):
        Client(url, token)


def test_names_cannot_leave_their_place_in_the_path(api: Api) -> None:
    with Client(api.url, TOKEN, namespace="default") as client, pytest.raises(NotFound):
        client.get_endpoint("../../api/inlet/tokens")
    assert api.seen[-1][1] == "/v2/endpoint/default/..%2F..%2Fapi%2Finlet%2Ftokens"


def test_an_object_of_another_server_has_no_costs() -> None:
    raw = {
        "name": "a",
        "type": "public",
        "healthRoute": "health",
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {
            "instanceType": "intel-spr",
            "instanceSize": "x1",
            "scaling": {"minReplica": 1, "maxReplica": 1},
        },
        "model": {"repository": "org/m", "task": "fill-mask"},
        "status": {"state": "somethingNew", "url": "http://h/a/", "createdAt": "x", "updatedAt": "x"},
    }
    info = EndpointInfo.read(raw)
    assert (info.state, info.task, info.monthly_cost) == ("somethingNew", "fill-mask", None)
