"""A small HTTP server that answers as the public API does, so that the command line can be tested alone.

An endpoint of it goes one state further each time that it is looked at: pending, initializing, running. A repository
named `org/bad` fails instead.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "inl_test"

CATALOGUE = {
    "vendors": [
        {
            "name": "aws",
            "status": "available",
            "regions": [
                {
                    "name": "us-east-1",
                    "label": "N. Virginia",
                    "status": "available",
                    "computes": [
                        {
                            "id": f"aws-us-east-1-{type_}-{size}",
                            "accelerator": accelerator,
                            "numAccelerators": 1,
                            "numCpus": cpus,
                            "memoryGb": 4.0,
                            "gpuMemoryGb": None,
                            "instanceType": type_,
                            "instanceSize": size,
                            "architecture": type_.title(),
                            "status": status,
                            "pricePerHour": price,
                            "quota": {"maxAccelerators": 10, "usedAccelerators": 0},
                        }
                        for accelerator, type_, size, cpus, price, status in (
                            ("cpu", "intel-spr", "x1", 1, 0.033, "available"),
                            ("cpu", "intel-spr", "x2", 2, 0.067, "available"),
                            ("gpu", "nvidia-t4", "x1", None, 0.5, "not_available"),
                        )
                    ],
                }
            ],
        }
    ]
}


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


class Refusal(Exception):
    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class Api:
    """What the server knows; `seen` are the requests so far, as (method, path, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.endpoints: dict[tuple[str, str], dict[str, Any]] = {}
        self.tokens: list[dict[str, Any]] = []
        self.namespaces = ["default"]
        self.log = ["first line", "second line"]
        self.stuck = False  # endpoints get nowhere
        self.refusal: Refusal | None = None  # what everything is answered with
        self.seen: list[tuple[str, str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        if path == "/api/whoami-v2":
            return {
                "type": "user",
                "name": "default",
                "orgs": [],
                "auth": {"accessToken": {"displayName": "mine"}},
            }
        if path == "/api/inlet/tokens":
            return self._tokens(method, body)
        if match := re.fullmatch("/api/inlet/tokens/(.+)", path):
            for token in self.tokens:
                if token["id"] == match[1]:
                    token["revokedAt"] = "2026-01-02T00:00:00.000000Z"
                    return {}
            raise Refusal(404, "no such token")
        if path == "/api/inlet/namespaces":
            if method == "POST":
                self.namespaces.append(body["name"])
                return {"name": body["name"]}
            return {"items": [{"name": name} for name in self.namespaces]}
        if re.fullmatch("/v2/provider/[^/]+", path):
            return CATALOGUE
        if match := re.fullmatch("/v2/endpoint/([^/]+)", path):
            return self._create(match[1], body) if method == "POST" else self._list(match[1])
        if match := re.fullmatch("/v2/endpoint/([^/]+)/([^/]+)(/.+)?", path):
            return self._endpoint(method, (match[1], match[2]), match[3] or "", body)
        if match := re.fullmatch("/([^/]+)/([^/]+)(/health)?", path):
            if (match[1], match[2]) not in self.endpoints:
                raise Refusal(404, "nothing here")
            return {"ok": True} if match[3] else [{"label": "POSITIVE", "score": 0.98765432}]
        raise Refusal(404, "nothing here")

    def _tokens(self, method: str, body: Any) -> Any:
        if method == "GET":
            return {"items": self.tokens}
        token = {
            "id": f"t{len(self.tokens)}",
            "name": body["name"],
            "permissions": body["permissions"],
            "createdAt": "2026-01-01T00:00:00.000000Z",
            "expiresAt": None if body["expires_in_days"] is None else "2020-01-01T00:00:00.000000Z",
        }
        self.tokens.append({**token, "revokedAt": None})
        return {**token, "token": "inl_shown_once"}

    def _list(self, namespace: str) -> Any:
        items = [raw for (owner, _), raw in self.endpoints.items() if owner == namespace]
        return {"items": items, "totalItems": len(items)}

    def _create(self, namespace: str, body: Any) -> Any:
        key = (namespace, body["name"])
        if key in self.endpoints:
            raise Refusal(409, f"name: an endpoint named {body['name']!r} exists")
        self.endpoints[key] = {
            **body,
            "healthRoute": "/health",
            "model": {"task": None, **body["model"], "secrets": dict.fromkeys(body["model"]["secrets"])},
            "status": {
                "state": "pending",
                "message": "Endpoint waiting to be scheduled",
                "url": None,
                "createdAt": "2026-01-01T00:00:00.000000Z",
                "updatedAt": "2026-01-01T00:00:00.000000Z",
                "readyReplica": 0,
                "targetReplica": 1,
            },
            "inlet": {
                "task": body["model"].get("task") or "text-classification",
                "pricePerHour": 0.033,
                "monthlyCost": 24.09,
                "monthlyCostMinimum": 24.09,
                "limits": "vCPU best effort",
            },
        }
        return self.endpoints[key]

    def _endpoint(self, method: str, key: tuple[str, str], action: str, body: Any) -> Any:
        if key not in self.endpoints:
            raise Refusal(404, f"no endpoint {key[1]!r} in namespace {key[0]!r}")
        raw = self.endpoints[key]
        status = raw["status"]
        if method == "DELETE":
            del self.endpoints[key]
            return {}
        if action == "/replica":
            stage = "running" if status["state"] == "running" else "downloading"
            return {
                "items": [
                    {
                        "id": "r-1",
                        "versionId": "1",
                        "status": {"stage": stage, "live": False, "updating": False},
                    }
                ]
            }
        if action == "/logs":
            return "\n".join(self.log) + "\n"
        if action:
            states = {"/pause": "paused", "/resume": "pending", "/scale-to-zero": "scaledToZero"}
            if action == "/resume" and status["state"] == "running":
                raise Refusal(400, "Bad Request: Endpoint is already running")
            status["state"], status["message"] = states[action], ""
        elif method == "PUT":
            _merge(raw, body)
        elif not self.stuck:
            self._go_on(raw, key)
        return raw

    def _go_on(self, raw: dict[str, Any], key: tuple[str, str]) -> None:
        status = raw["status"]
        if status["state"] == "pending":
            status.update(state="initializing", message="Endpoint is starting: downloading 43 %")
        elif status["state"] == "initializing" and raw["model"]["repository"] == "org/bad":
            status.update(
                state="failed", message="Endpoint failed to start", errorMessage="org/bad has no config.json"
            )
        elif status["state"] == "initializing":
            status.update(
                state="running",
                message="Endpoint is ready",
                url=f"{self.url}/{'/'.join(key)}",
                readyReplica=1,
            )


@contextmanager
def serving() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            body = json.loads(data) if data else None
            path, _, _ = self.path.partition("?")
            api.seen.append((self.command, self.path, body))
            status, headers = 200, {}
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refusal(401, "the token is not known")
                answer = api.answer(self.command, path, body)
            except Refusal as refusal:
                status, answer, headers = refusal.status, {"error": str(refusal)}, refusal.headers
            text = isinstance(answer, str)
            content = answer.encode() if text else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Request-Id", "req-7")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
