"""The real `huggingface_hub` client against the real application on a real socket, its base address apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import huggingface_hub
import pytest
import uvicorn
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from inlet.core.access import Grant
from inlet.core.endpoint import Cause, Failure, State
from tests.control.conftest import READ, Api

HARDWARE: dict[str, Any] = {
    "framework": "pytorch", "accelerator": "cpu", "instance_size": "x1", "instance_type": "intel-spr",
    "region": "us-east-1", "vendor": "aws",
}  # fmt: skip


@pytest.fixture
async def hub(api: Api) -> AsyncIterator[Callable[..., Any]]:
    """`await hub(token)(method, …)`: one call of the client, beside the loop."""
    # A kept connection must not be closed in the moment in which the client, late by seconds, uses it again.
    config = uvicorn.Config(
        api.app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2, timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = "http://{}:{}".format(*listener.getsockname())
    official = constants.INFERENCE_ENDPOINTS_ENDPOINT
    constants.INFERENCE_ENDPOINTS_ENDPOINT = f"{url}/v2"

    async def call(method: str, *args: Any, token: str | None = None, **options: Any) -> Any:
        client = HfApi(endpoint=url, token=token or api.token)
        return await asyncio.to_thread(getattr(client, method), *args, **options)

    yield call
    constants.INFERENCE_ENDPOINTS_ENDPOINT = official
    huggingface_hub.close_session()
    server.should_exit = True
    await serving
    listener.close()


async def test_an_endpoint_through_its_life(api: Api, hub: Callable[..., Any]) -> None:
    made = await hub("create_inference_endpoint", "mini", repository="acme/mini", task="text-classification",
                     min_replica=0, scale_to_zero_timeout=15, env={"A": "1"}, secrets={"S": "hush"}, tags=["nlp"],
                     scaling_metric="pendingRequests", scaling_threshold=2.0, **HARDWARE)  # fmt: skip
    assert (made.name, made.namespace, made.status, made.url) == ("mini", "default", "pending", None)
    assert made.raw["model"]["secrets"] == {"S": None}
    record = await api.set(state=State.RUNNING, deployed=True, ready=1)
    await api.set(serving=record.target)
    got = await hub("get_inference_endpoint", "mini")
    assert (got.status, got.url) == ("running", "https://ml.example.com/default/mini")
    assert [e.name for e in await hub("list_inference_endpoints")] == ["mini"]
    assert await hub("list_inference_endpoints", namespace="acme") == []
    same = await hub("resume_inference_endpoint", "mini")
    assert same.status == "running"
    with pytest.raises(HfHubHTTPError, match="already running"):
        await hub("resume_inference_endpoint", "mini", running_ok=False)
    updated = await hub("update_inference_endpoint", "mini", env={"A": "2"}, max_replica=3, tags=[])
    assert (updated.status, updated.raw["model"]["env"]) == ("updating", {"A": "2"})
    slept = await hub("scale_to_zero_inference_endpoint", "mini")
    assert slept.status == "scaledToZero"
    paused = await hub("pause_inference_endpoint", "mini")
    assert paused.status == "paused"
    resumed = await hub("resume_inference_endpoint", "mini")
    assert resumed.status == "pending"
    await api.set(state=State.FAILED, failure=Failure(Cause.RUNTIME, "out of memory"))
    failed = await hub("get_inference_endpoint", "mini")
    assert failed.raw["status"]["errorMessage"] == "out of memory"
    await hub("delete_inference_endpoint", "mini")
    assert await hub("list_inference_endpoints") == []


async def test_hardware(hub: Callable[..., Any]) -> None:
    rows = {row.id: row for row in await hub("list_inference_endpoints_hardware")}
    row = rows["aws-us-east-1-intel-spr-x2"]
    assert (row.price_per_hour, row.num_cpus, row.memory_gb, row.status) == (0.067, 2, 4.0, "available")
    assert rows["aws-us-east-1-nvidia-t4-x1"].status == "not_available"
    assert row.max_accelerators - row.used_accelerators >= row.num_accelerators


async def test_errors_as_the_client_prints_them(api: Api, hub: Callable[..., Any]) -> None:
    with pytest.raises(HfHubHTTPError) as not_found:
        await hub("get_inference_endpoint", "nothing")
    assert not_found.value.response.status_code == 404
    assert "There is no endpoint 'nothing'" in str(not_found.value)
    await hub("create_inference_endpoint", "mini", repository="acme/mini", **HARDWARE)
    with pytest.raises(HfHubHTTPError) as taken:
        await hub("create_inference_endpoint", "mini", repository="acme/mini", **HARDWARE)
    assert taken.value.response.status_code == 409
    with pytest.raises(HfHubHTTPError) as invalid:
        await hub(
            "create_inference_endpoint",
            "other",
            repository="acme/mini",
            **{**HARDWARE, "instance_size": "x3"},
        )
    assert "compute.instanceSize: there is no 'x3' here" in str(invalid.value)
    reader = (await api.grant(Grant(READ))).token
    with pytest.raises(HfHubHTTPError) as forbidden:
        await hub("pause_inference_endpoint", "mini", token=reader)
    assert forbidden.value.response.status_code == 403
    assert "inference.endpoints.write on default/mini" in str(forbidden.value)
    assert forbidden.value.request_id
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        await hub("whoami", token="inl_wrong")


async def test_whoami(hub: Callable[..., Any]) -> None:
    me = await hub("whoami")
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("default", ["acme"])
