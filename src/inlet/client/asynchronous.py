"""The client for asyncio: sends the calls of `calls.py` with httpx. `blocking.py` is the same without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import httpx

from inlet.client import calls
from inlet.client.answers import error_of, result, unreachable
from inlet.client.calls import Call
from inlet.client.info import EndpointInfo
from inlet.core.access import Grant

T = TypeVar("T")


class AsyncClient:
    """One server, one token. `namespace` None means the token's own, asked once. `timeout` in seconds per call."""

    def __init__(self, url: str, token: str, *, namespace: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.AsyncClient(**calls.http_options(url, token, timeout))
        self._namespace = namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def list_endpoints(self, *, namespace: str | None = None) -> list[EndpointInfo]:
        return await self._send(calls.list_endpoints(await self._in(namespace)))

    async def get_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return await self._send(calls.get_endpoint(await self._in(namespace), name))

    async def create_endpoint(
        self, document: Mapping[str, Any], *, namespace: str | None = None
    ) -> EndpointInfo:
        """`document` as the API takes it; `endpoint_document` makes one."""
        return await self._send(calls.create_endpoint(await self._in(namespace), document))

    async def update_endpoint(
        self, name: str, changes: Mapping[str, Any], *, namespace: str | None = None
    ) -> EndpointInfo:
        """`changes` is merged into what is stored; null leaves a field as it is."""
        return await self._send(calls.update_endpoint(await self._in(namespace), name, changes))

    async def delete_endpoint(self, name: str, *, namespace: str | None = None) -> None:
        await self._send(calls.delete_endpoint(await self._in(namespace), name))

    async def pause(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return await self._send(calls.act(await self._in(namespace), name, "pause"))

    async def resume(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return await self._send(calls.act(await self._in(namespace), name, "resume"))

    async def scale_to_zero(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return await self._send(calls.act(await self._in(namespace), name, "scale-to-zero"))

    async def replicas(self, name: str, *, namespace: str | None = None) -> list[dict[str, Any]]:
        return await self._send(calls.replicas(await self._in(namespace), name))

    async def logs(
        self,
        name: str,
        *,
        namespace: str | None = None,
        replica: str | None = None,
        tail: int | None = None,
        follow: bool = False,
    ) -> AsyncIterator[str]:
        """Lines as they come, oldest first; with `follow` until the server or the caller closes."""
        call = calls.logs(await self._in(namespace), name, replica=replica, tail=tail, follow=follow)
        request = self._request(call)
        if follow:
            request.extensions["timeout"]["read"] = None
        async with self._streamed(request) as response:
            async for line in response.aiter_lines():
                yield line

    async def hardware(self, *, namespace: str | None = None) -> dict[str, Any]:
        """The catalogue as the API answers it: `{"vendors": [{"regions": [{"computes": [...]}]}]}`."""
        return await self._send(calls.hardware(await self._in(namespace)))

    async def whoami(self) -> dict[str, Any]:
        return await self._send(calls.whoami())

    async def about(self) -> dict[str, Any]:
        """The server's version, and which of several controls leads."""
        return await self._send(calls.about())

    async def default_namespace(self) -> str:
        """The one that is meant when none is named."""
        if self._namespace is None:
            self._namespace = str((await self.whoami())["name"])
        return self._namespace

    async def create_token(
        self, name: str, grants: Sequence[Grant], *, expires_in_days: float | None = None
    ) -> dict[str, Any]:
        """The answer's `token` is shown this once."""
        return await self._send(calls.create_token(name, grants, expires_in_days))

    async def list_tokens(self) -> list[dict[str, Any]]:
        return await self._send(calls.list_tokens())

    async def revoke_token(self, token_id: str) -> None:
        await self._send(calls.revoke_token(token_id))

    async def list_namespaces(self) -> list[dict[str, Any]]:
        return await self._send(calls.list_namespaces())

    async def create_namespace(self, name: str) -> dict[str, Any]:
        return await self._send(calls.create_namespace(name))

    async def wait(
        self,
        name: str,
        *,
        namespace: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a property of the call
        on_progress: Callable[[EndpointInfo], None] | None = None,
    ) -> EndpointInfo:
        """Until it answers its health check. `Refused` when it failed, `Unavailable` after `timeout` seconds.

        `on_progress` is called with every look at it.
        """
        began = time.monotonic()
        pauses = calls.pauses()
        while True:
            endpoint = await self.get_endpoint(name, namespace=namespace)
            if on_progress is not None:
                on_progress(endpoint)
            if calls.worth_probing(endpoint) and await self._healthy(await self._in(namespace), endpoint):
                return endpoint
            if timeout is not None and time.monotonic() - began > timeout:
                raise calls.out_of_time(endpoint, timeout)
            await asyncio.sleep(next(pauses))

    async def predict(
        self,
        name: str,
        inputs: Any,
        *,
        parameters: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - a property of the call
    ) -> Any:
        """The endpoint's answer to `{"inputs": ..., "parameters": ...}`, decoded; wakes it if it sleeps."""
        return await self._send(calls.predict(await self._in(namespace), name, inputs, parameters, timeout))

    async def model_info(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """What a ready replica says of its model: engine, precision, and how that was chosen. Wakes nothing."""
        return await self._send(calls.model_info(await self._in(namespace), name))

    async def list_artifacts(self) -> list[dict[str, Any]]:
        """Every artifact of the server's machine, as `{"id": …, "manifest": …}`; for admins of everything."""
        return await self._send(calls.list_artifacts())

    async def download_artifact(self, artifact: str, file: str) -> AsyncIterator[bytes]:
        """One file of an artifact, in pieces."""
        request = self._http.build_request("GET", calls.artifact_path(artifact, file))
        async with self._streamed(request) as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def _in(self, namespace: str | None) -> str:
        return await self.default_namespace() if namespace is None else namespace

    async def _healthy(self, namespace: str, endpoint: EndpointInfo) -> bool:
        try:
            path = calls.data_path(namespace, endpoint.name, endpoint.health_route)
            return (await self._http.get(path)).status_code == 200
        except httpx.RequestError:
            return False

    def _request(self, call: Call[Any]) -> httpx.Request:
        return self._http.build_request(
            call.method,
            call.path,
            params=call.params,
            json=call.body,
            timeout=httpx.USE_CLIENT_DEFAULT if call.timeout is None else call.timeout,
        )

    async def _send(self, call: Call[T]) -> T:
        request = self._request(call)
        try:
            response = await self._http.send(request)
        except httpx.RequestError as error:
            raise unreachable(error, request.url) from error
        return result(call, response)

    @asynccontextmanager
    async def _streamed(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """A good answer whose body is still to be read."""
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response)
                yield response
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise unreachable(error, request.url) from error
