"""The blocking client: sends the calls of `calls.py` with httpx and waits. `asynchronous.py` is the same with asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import httpx

from inlet.client import calls
from inlet.client.answers import error_of, result, unreachable
from inlet.client.calls import Call
from inlet.client.info import EndpointInfo
from inlet.core.access import Grant

T = TypeVar("T")


class Client:
    """One server, one token. `namespace` None means the token's own, asked once. `timeout` in seconds per call."""

    def __init__(self, url: str, token: str, *, namespace: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.Client(**calls.http_options(url, token, timeout))
        self._namespace = namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def list_endpoints(self, *, namespace: str | None = None) -> list[EndpointInfo]:
        return self._send(calls.list_endpoints(self._in(namespace)))

    def get_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return self._send(calls.get_endpoint(self._in(namespace), name))

    def create_endpoint(self, document: Mapping[str, Any], *, namespace: str | None = None) -> EndpointInfo:
        """`document` as the API takes it; `endpoint_document` makes one."""
        return self._send(calls.create_endpoint(self._in(namespace), document))

    def update_endpoint(
        self, name: str, changes: Mapping[str, Any], *, namespace: str | None = None
    ) -> EndpointInfo:
        """`changes` is merged into what is stored; null leaves a field as it is."""
        return self._send(calls.update_endpoint(self._in(namespace), name, changes))

    def delete_endpoint(self, name: str, *, namespace: str | None = None) -> None:
        self._send(calls.delete_endpoint(self._in(namespace), name))

    def pause(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return self._send(calls.act(self._in(namespace), name, "pause"))

    def resume(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return self._send(calls.act(self._in(namespace), name, "resume"))

    def scale_to_zero(self, name: str, *, namespace: str | None = None) -> EndpointInfo:
        return self._send(calls.act(self._in(namespace), name, "scale-to-zero"))

    def replicas(self, name: str, *, namespace: str | None = None) -> list[dict[str, Any]]:
        return self._send(calls.replicas(self._in(namespace), name))

    def logs(
        self,
        name: str,
        *,
        namespace: str | None = None,
        replica: str | None = None,
        tail: int | None = None,
        follow: bool = False,
    ) -> Iterator[str]:
        """Lines as they come, oldest first; with `follow` until the server or the caller closes."""
        call = calls.logs(self._in(namespace), name, replica=replica, tail=tail, follow=follow)
        request = self._request(call)
        if follow:
            request.extensions["timeout"]["read"] = None
        with self._streamed(request) as response:
            yield from response.iter_lines()

    def hardware(self, *, namespace: str | None = None) -> dict[str, Any]:
        """The catalogue as the API answers it: `{"vendors": [{"regions": [{"computes": [...]}]}]}`."""
        return self._send(calls.hardware(self._in(namespace)))

    def whoami(self) -> dict[str, Any]:
        return self._send(calls.whoami())

    def about(self) -> dict[str, Any]:
        """The server's version, and which of several controls leads."""
        return self._send(calls.about())

    def default_namespace(self) -> str:
        """The one that is meant when none is named."""
        if self._namespace is None:
            self._namespace = str(self.whoami()["name"])
        return self._namespace

    def create_token(
        self, name: str, grants: Sequence[Grant], *, expires_in_days: float | None = None
    ) -> dict[str, Any]:
        """The answer's `token` is shown this once."""
        return self._send(calls.create_token(name, grants, expires_in_days))

    def list_tokens(self) -> list[dict[str, Any]]:
        return self._send(calls.list_tokens())

    def revoke_token(self, token_id: str) -> None:
        self._send(calls.revoke_token(token_id))

    def list_namespaces(self) -> list[dict[str, Any]]:
        return self._send(calls.list_namespaces())

    def create_namespace(self, name: str) -> dict[str, Any]:
        return self._send(calls.create_namespace(name))

    def wait(
        self,
        name: str,
        *,
        namespace: str | None = None,
        timeout: float | None = None,
        on_progress: Callable[[EndpointInfo], None] | None = None,
    ) -> EndpointInfo:
        """Until it answers its health check. `Refused` when it failed, `Unavailable` after `timeout` seconds.

        `on_progress` is called with every look at it.
        """
        began = time.monotonic()
        pauses = calls.pauses()
        while True:
            endpoint = self.get_endpoint(name, namespace=namespace)
            if on_progress is not None:
                on_progress(endpoint)
            if calls.worth_probing(endpoint) and self._healthy(self._in(namespace), endpoint):
                return endpoint
            if timeout is not None and time.monotonic() - began > timeout:
                raise calls.out_of_time(endpoint, timeout)
            time.sleep(next(pauses))

    def predict(
        self,
        name: str,
        inputs: Any,
        *,
        parameters: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The endpoint's answer to `{"inputs": ..., "parameters": ...}`, decoded; wakes it if it sleeps."""
        return self._send(calls.predict(self._in(namespace), name, inputs, parameters, timeout))

    def model_info(self, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """What a ready replica says of its model: engine, precision, and how that was chosen. Wakes nothing."""
        return self._send(calls.model_info(self._in(namespace), name))

    def list_artifacts(self) -> list[dict[str, Any]]:
        """Every artifact of the server's machine, as `{"id": …, "manifest": …}`; for admins of everything."""
        return self._send(calls.list_artifacts())

    def download_artifact(self, artifact: str, file: str) -> Iterator[bytes]:
        """One file of an artifact, in pieces."""
        request = self._http.build_request("GET", calls.artifact_path(artifact, file))
        with self._streamed(request) as response:
            yield from response.iter_bytes()

    def _in(self, namespace: str | None) -> str:
        return self.default_namespace() if namespace is None else namespace

    def _healthy(self, namespace: str, endpoint: EndpointInfo) -> bool:
        try:
            path = calls.data_path(namespace, endpoint.name, endpoint.health_route)
            return self._http.get(path).status_code == 200
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

    def _send(self, call: Call[T]) -> T:
        request = self._request(call)
        try:
            response = self._http.send(request)
        except httpx.RequestError as error:
            raise unreachable(error, request.url) from error
        return result(call, response)

    @contextmanager
    def _streamed(self, request: httpx.Request) -> Iterator[httpx.Response]:
        """A good answer whose body is still to be read."""
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise error_of(response)
                yield response
            finally:
                response.close()
        except httpx.RequestError as error:
            raise unreachable(error, request.url) from error
