"""Every call of the public API as a value: what to send, and how to read the answer.

Both clients are thin shells around this. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

from inlet import __version__
from inlet.client.info import EndpointInfo
from inlet.core.access import Grant
from inlet.core.errors import Invalid, Refused, Unavailable, WrongState
from inlet.core.origin import is_origin

T = TypeVar("T")

PREDICT_SECONDS = 300.0
"""A request may wake an endpoint and then compute for long."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `read` turns the answer's JSON into the result; `timeout` in seconds, None for the client's."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int | bool] = field(default_factory=dict)
    body: Any = None
    timeout: float | None = None


def http_options(url: str, token: str, timeout: float) -> dict[str, Any]:
    """What either httpx client is made with; `Invalid` for an address or a token that cannot be one."""
    if not is_origin(url):
        raise Invalid(f"{url!r} is not an address like http://127.0.0.1:8080", field="url")
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise Invalid("is not a token: it holds characters that no token has", field="token")
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {token}", "User-Agent": f"inlet/{__version__}"},
        "timeout": timeout,
        # The environment's proxy is for the world outside, and seldom says so.
        "trust_env": urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"),
    }


def endpoint_document(
    name: str,
    repository: str,
    *,
    task: str | None = None,
    framework: str = "pytorch",
    revision: str | None = None,
    type: str = "private",  # noqa: A002 - the field's name
    vendor: str = "aws",
    region: str = "us-east-1",
    accelerator: str = "cpu",
    instance_type: str = "intel-spr",
    instance_size: str = "x1",
    min_replica: int = 1,
    max_replica: int = 1,
    scale_to_zero_timeout: int | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
) -> dict[str, Any]:
    """The body of a create request; `scale_to_zero_timeout` in minutes."""
    model: dict[str, Any] = {
        "repository": repository,
        "revision": revision,
        "framework": framework,
        "image": {"huggingface": {}},
        "env": dict(env or {}),
        "secrets": dict(secrets or {}),
    }
    if task is not None:
        model["task"] = task
    return {
        "name": name,
        "type": type,
        "provider": {"vendor": vendor, "region": region},
        "compute": {
            "accelerator": accelerator,
            "instanceType": instance_type,
            "instanceSize": instance_size,
            "scaling": {
                "minReplica": min_replica,
                "maxReplica": max_replica,
                "scaleToZeroTimeout": scale_to_zero_timeout,
            },
        },
        "model": model,
        "tags": list(tags),
    }


def list_endpoints(namespace: str) -> Call[list[EndpointInfo]]:
    """All endpoints of a namespace, newest first."""
    return Call("GET", _path(namespace), lambda answer: [EndpointInfo.read(item) for item in answer["items"]])


def get_endpoint(namespace: str, name: str) -> Call[EndpointInfo]:
    """One endpoint; `NotFound` if there is none of that name."""
    return Call("GET", _path(namespace, name), EndpointInfo.read)


def create_endpoint(namespace: str, document: Mapping[str, Any]) -> Call[EndpointInfo]:
    """Answered at once; the endpoint starts afterwards."""
    return Call("POST", _path(namespace), EndpointInfo.read, body=document)


def update_endpoint(namespace: str, name: str, changes: Mapping[str, Any]) -> Call[EndpointInfo]:
    """A deep merge of `changes` into what is stored; null leaves a field as it is."""
    return Call("PUT", _path(namespace, name), EndpointInfo.read, body=changes)


def delete_endpoint(namespace: str, name: str) -> Call[dict[str, Any]]:
    """Answered at once; its replicas drain afterwards."""
    return Call("DELETE", _path(namespace, name), dict)


def act(namespace: str, name: str, action: str) -> Call[EndpointInfo]:
    """`action`: pause, resume or scale-to-zero."""
    return Call("POST", _path(namespace, name, action), EndpointInfo.read)


def replicas(namespace: str, name: str) -> Call[list[dict[str, Any]]]:
    """Its replicas: `{"id", "versionId", "status": {"stage", "live", ...}}` each."""
    return Call("GET", _path(namespace, name, "replica"), lambda answer: list(answer["items"]))


def logs(namespace: str, name: str, *, replica: str | None, tail: int | None, follow: bool) -> Call[str]:
    """Answered as text, line by line; never ends by itself with `follow`."""
    params: dict[str, str | int | bool] = {}
    if replica is not None:
        params["replica"] = replica
    if tail is not None:
        params["tail"] = tail
    if follow:
        params["follow"] = True
    return Call("GET", _path(namespace, name, "logs"), str, params=params)


def hardware(namespace: str) -> Call[dict[str, Any]]:
    """The catalogue with prices and availability, as the API answers it."""
    return Call("GET", f"/v2/provider/{quote(namespace, safe='')}", _object("vendors"))


def whoami() -> Call[dict[str, Any]]:
    """Whose token it is; `name` is its namespace."""
    return Call("GET", "/api/whoami-v2", _object("name"))


def about() -> Call[dict[str, Any]]:
    """The server's version, and where the control that answers stands among several."""
    return Call("GET", "/api/inlet/about", _object("version", "control"))


def create_token(name: str, grants: Sequence[Grant], expires_in_days: float | None) -> Call[dict[str, Any]]:
    """The answer carries `token`, the value, this once."""
    permissions = [
        {"permission": grant.permission.value, "namespace": grant.namespace, "endpoint": grant.endpoint}
        for grant in grants
    ]
    body = {"name": name, "permissions": permissions, "expires_in_days": expires_in_days}
    return Call("POST", "/api/inlet/tokens", _object("id", "name", "permissions", "token"), body=body)


def list_tokens() -> Call[list[dict[str, Any]]]:
    """Tokens without their values, revoked ones included."""
    return Call("GET", "/api/inlet/tokens", lambda answer: list(answer["items"]))


def revoke_token(token_id: str) -> Call[dict[str, Any]]:
    """From then on the token is unknown everywhere."""
    return Call("DELETE", f"/api/inlet/tokens/{quote(token_id, safe='')}", dict)


def list_namespaces() -> Call[list[dict[str, Any]]]:
    """`{"name"}` each, in order of creation."""
    return Call("GET", "/api/inlet/namespaces", lambda answer: list(answer["items"]))


def create_namespace(name: str) -> Call[dict[str, Any]]:
    """`Conflict` if it exists."""
    return Call("POST", "/api/inlet/namespaces", _object("name"), body={"name": name})


def predict(
    namespace: str, name: str, inputs: Any, parameters: Mapping[str, Any] | None, timeout: float | None
) -> Call[Any]:
    """To the endpoint itself, by the server that the client knows: `status.url` may be for the world outside."""
    body = {"inputs": inputs} if parameters is None else {"inputs": inputs, "parameters": dict(parameters)}
    path = data_path(namespace, name)
    return Call("POST", path, lambda answer: answer, body=body, timeout=timeout or PREDICT_SECONDS)


def model_info(namespace: str, name: str) -> Call[dict[str, Any]]:
    """What a replica says of its model: engine, precision, and how that was chosen. Wakes nothing."""
    return Call("GET", data_path(namespace, name, "/info"), dict)


def list_artifacts() -> Call[list[dict[str, Any]]]:
    """Every artifact of the server's machine, as `{"id": …, "manifest": …}`; for admins of everything."""
    return Call("GET", "/api/inlet/artifacts", lambda answer: list(answer["items"]))


def artifact_path(artifact: str, file: str) -> str:
    """Where one file of an artifact is."""
    return f"/api/inlet/artifacts/{quote(artifact, safe='')}/{quote(file, safe='')}"


def data_path(namespace: str, name: str, route: str = "") -> str:
    """Where an endpoint answers on the public origin; `route` is a path of the replica, from its slash on."""
    return f"/{quote(namespace, safe='')}/{quote(name, safe='')}{route}"


def worth_probing(endpoint: EndpointInfo) -> bool:
    """Of an endpoint that is waited for: whether its health should be asked now.

    Raises `Refused` when it failed, and `WrongState` when it will not become ready by waiting.
    """
    if endpoint.state in ("failed", "updateFailed"):
        raise Refused(endpoint.error_message or endpoint.message or f"the endpoint is {endpoint.state}")
    if endpoint.state == "paused":
        raise WrongState(f"endpoint {endpoint.name!r} is paused: resume it first")
    if endpoint.state == "scaledToZero":
        raise WrongState(f"endpoint {endpoint.name!r} sleeps: a request wakes it, or resume it")
    return endpoint.running


def pauses() -> Iterator[float]:
    """Seconds between two looks of a waiting client, for the public API has nothing to wait at: short ones first."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 1.25, 1.0)


def out_of_time(endpoint: EndpointInfo, timeout: float) -> Unavailable:
    """What a wait that ran into its limit raises."""
    return Unavailable(
        f"endpoint {endpoint.name!r} was not ready within {timeout:g} s: {endpoint.state}"
        + (f" ({endpoint.message})" if endpoint.message else "")
    )


def _object(*keys: str) -> Callable[[Any], dict[str, Any]]:
    """Reads an object that must have these keys."""

    def read(answer: Any) -> dict[str, Any]:
        for key in keys:
            answer[key]
        return dict(answer)

    return read


def _path(namespace: str, *rest: str) -> str:
    return "/".join(["/v2/endpoint", *(quote(part, safe="") for part in (namespace, *rest))])
