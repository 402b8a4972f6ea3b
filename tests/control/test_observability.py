"""Replicas and logs, through the real application."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn

from inlet.backends.base import LogLine
from inlet.core.access import Grant
from inlet.core.endpoint import Revision, State
from inlet.core.errors import Misdirected
from inlet.core.seen import Exit, ExitKind, Phase, SeenReplica, SeenReplicaSet
from tests.control.conftest import READ, T0, Api

V2 = "/v2/endpoint/default/mini/logs"
V3 = "/v3/endpoint/default/mini/logs"
LINES = [
    LogLine(T0, "r-1", "stdout", "INFO starting"),
    LogLine(T0, "r-2", "stdout", '{"level": "warn", "message": "slow disk"}'),
    LogLine(T0 + 1, "r-1", "stderr", "ERROR no such file"),
    LogLine(T0 + 2, "r-1", "stdout", "ready"),
    LogLine(T0 + 2, "r-2", "stdout", "ready too; that word comes much too late in this line: ERROR"),
]  # fmt: skip


async def lines_of(api: Api, query: str = "") -> list[str]:
    return [entry["line"][:5] for entry in await api.ok("GET", f"{V3}?{query}")]


async def test_replicas(api: Api) -> None:
    await api.create()
    record = await api.record()
    await api.set(serving=record.target, target=Revision(2, record.spec.workload, T0))
    ended = Exit(ExitKind.CRASHED, "exit code 3", 3)
    api.backend.sets = [
        SeenReplicaSet(f"{record.id}-r1", record.id, 1, 1, (SeenReplica("a", Phase.RUNNING, "unix:/a", T0 + 1),)),
        SeenReplicaSet(f"{record.id}-r2", record.id, 2, 2, (SeenReplica("b", Phase.STOPPED, None, T0 + 2, T0 + 3, ended), SeenReplica("c", Phase.DOWNLOADING))),
        SeenReplicaSet("x-r1", "x", 1, 1, (SeenReplica("d", Phase.RUNNING),)),
    ]  # fmt: skip
    assert (await api.ok("GET", "/v2/endpoint/default/mini/replica"))["items"] == [
        {"id": "b", "versionId": "2", "status": {
            "stage": "stopped", "live": False, "updating": True, "exitCode": 3,
            "startedAt": "2026-11-18T11:06:42.000000Z", "stoppedAt": "2026-11-18T11:06:43.000000Z"}},
        {"id": "c", "versionId": "2", "status": {"stage": "downloading", "live": False, "updating": True}},
        {"id": "a", "versionId": "1", "status": {
            "stage": "running", "live": True, "updating": False, "startedAt": "2026-11-18T11:06:41.000000Z"}},
    ]  # fmt: skip
    api.backend.away = True
    await api.refused(503, "GET", "/v2/endpoint/default/mini/replica")


async def test_text(api: Api) -> None:
    await api.create()
    api.backend.lines = LINES
    response = await api.call("GET", V2)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "".join(line.line + "\n" for line in LINES)
    assert (await api.call("GET", f"{V2}?replica=r-2&tail=1&line_max_length=5")).text == "ready\n"
    assert (await api.call("GET", f"{V2}?tail=0")).text == ""
    for query in ("tail=-1", "tail=x", "line_max_length=0", "follow=perhaps"):
        assert (await api.refused(400, "GET", f"{V2}?{query}")).startswith("query.")
    await api.refused(404, "GET", V2.replace("mini", "other"))
    api.backend.away = True
    await api.refused(503, "GET", V2)
    await api.refused(503, "GET", f"{V3}/download")


async def test_entries(api: Api) -> None:
    await api.create()
    assert await api.ok("GET", V3) == []
    api.backend.lines = LINES
    entries = await api.ok("GET", V3)
    assert entries[:3] == [
        {"timestamp": "2026-11-18T11:06:40.000000Z", "line": "INFO starting", "stream": "stdout", "replica_id": "r-1", "level": "info"},
        {"timestamp": "2026-11-18T11:06:40.000000Z", "line": LINES[1].line, "stream": "stdout", "replica_id": "r-2", "level": "warning"},
        {"timestamp": "2026-11-18T11:06:41.000000Z", "line": "ERROR no such file", "stream": "stderr", "replica_id": "r-1", "level": "error"},
    ]  # fmt: skip
    assert ["level" in entry for entry in entries[3:]] == [False, False]
    for query, expected in (
        ("level=error", ["ERROR"]),
        ("search=READY", ["ready", "ready"]),
        ("replica=r-2", ['{"lev', "ready"]),
        ("since=2026-11-18T11:06:41Z&until=2026-11-18T11:06:41.5Z", ["ERROR"]),
        ("since=2026-11-18T12:06:41%2B01:00&limit=1&order=asc", ["ERROR"]),
        ("limit=1", ["ready"]),
        ("limit=2&order=asc", ["INFO ", '{"lev']),
    ):
        assert await lines_of(api, query) == expected, query
    for query, words in (
        ("since=yesterday", "since: must be a time like"),
        ("level=loud", 'query.level: must be one of debug, info, warning, error, critical, not "loud"'),
        ("limit=5001", "query.limit: must be 5000 or less"),
        ("after=x", "after: is not a cursor of this log"),
        ("before=%F0%9F%A6%A6", "before: is not a cursor of this log"),
    ):
        assert (await api.refused(400, "GET", f"{V3}?{query}")).startswith(words)


def links(response: httpx.Response) -> dict[str, str]:
    return {rel: url for url, rel in re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers["link"])}


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_of_entries_meet(api: Api, order: str) -> None:
    """Whichever end one starts from, the pages together are the whole log, each line once."""
    await api.create()
    api.backend.lines = [LogLine(T0 + i // 3, "r", "stdout", f"{i:05}") for i in range(17)]
    rel = "next" if order == "asc" else "prev"
    response = await api.call("GET", f"{V3}?limit=5&order={order}")
    pages = [[entry["line"] for entry in response.json()]]
    while rel in (found := links(response)):
        url = found[rel]
        assert url.startswith("https://ml.example.com/v3/endpoint/default/mini/logs?limit=5")
        response = await api.call("GET", url.removeprefix("https://ml.example.com"))
        pages.append([entry["line"] for entry in response.json()])
    pages = pages if order == "asc" else pages[::-1]
    assert [line for page in pages for line in page] == [f"{i:05}" for i in range(17)]
    assert len(pages) == 4


async def test_the_page_before_is_the_one_that_one_came_from(api: Api) -> None:
    await api.create()
    api.backend.lines = [LogLine(T0 + i, "r", "stdout", f"{i:05}") for i in range(8)]
    response = await api.call("GET", f"{V3}?limit=2&order=asc")
    for rel in ("next", "next", "prev"):
        response = await api.call("GET", links(response)[rel].removeprefix("https://ml.example.com"))
    assert [entry["line"] for entry in response.json()] == ["00002", "00003"]


@pytest.mark.parametrize(
    "path",
    [
        "v2/{}/logs",
        "v2/{}/logs?follow=true",
        "v2/{}/logs/sse",
        "v3/{}/logs",
        "v3/{}/logs/download",
        "v3/{}/logs/sse",
    ],
)
async def test_logs_that_are_elsewhere_are_said_to_be_there(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def elsewhere(*_: object, **__: object) -> None:
        raise Misdirected("ask http://there")

    await api.create()
    monkeypatch.setattr(api.backend, "logs", elsewhere)
    told = await api.refused(421, "GET", f"/{path.format('endpoint/default/mini')}")
    assert "http://there" in told


async def test_download(api: Api) -> None:
    await api.create()
    api.backend.lines = LINES
    response = await api.call("GET", f"{V3}/download?replica=r-1&line_max_length=8")
    assert response.headers["content-disposition"] == 'attachment; filename="default-mini.log"'
    assert response.text.splitlines() == [
        "2026-11-18T11:06:40.000000Z r-1 info INFO sta",
        "2026-11-18T11:06:41.000000Z r-1 error ERROR no",
        "2026-11-18T11:06:42.000000Z r-1 - ready",
    ]
    assert (await api.call("GET", f"{V3}/download?replica=none")).text == ""


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a real socket: what follows a log cannot be tried in process."""
    config = uvicorn.Config(
        api.app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2, timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = "http://{}:{}".format(*listener.getsockname())
    headers = {"Authorization": f"Bearer {api.token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        yield client
    server.should_exit = True
    await serving
    listener.close()


@pytest.mark.parametrize(
    ("path", "first", "then"),
    [
        (f"{V2}?follow=true&tail=1", "ready t", "more\n"),
        (f"{V2}/sse?tail=1", "data: ready t", "data: more\n\n"),
        (f"{V3}/sse?search=o", 'data: {"timestamp":"2026-11-18T11:06:40.000000Z","line":"INFO', '"line":"more","stream":"stdout","replica_id":"r-1"}\n\n'),
    ],
)  # fmt: skip
async def test_a_followed_log_goes_on_until_the_reader_leaves(
    api: Api, path: str, first: str, then: str
) -> None:
    await api.create()
    api.backend.lines = LINES
    async with served(api) as client, asyncio.timeout(60):
        async with client.stream("GET", path) as response:
            assert response.status_code == 200
            chunks = response.aiter_text()
            text = await anext(chunks)
            assert text.startswith(first)
            await api.backend.more.put(replace(LINES[0], at=T0 + 9, line="more"))
            while not text.endswith(then):
                text += await anext(chunks)
            assert not api.backend.closed_logs.is_set()
        await api.backend.closed_logs.wait()


async def told(chunks: AsyncIterator[str]) -> dict[str, Any]:
    """The next event's object; comments are passed over."""
    text = ""
    while not (text.startswith("data: ") and text.endswith("\n\n")):
        text = (text + await anext(chunks)).removeprefix(":\n\n")
    return dict(json.loads(text.removeprefix("data: ")))


@pytest.mark.parametrize("end", ["deleted", "replaced", "revoked"])
async def test_a_followed_endpoint_is_told_after_each_change_until_it_ends(api: Api, end: str) -> None:
    await api.create()
    reader = await api.grant(Grant(READ))
    path = "/v2/endpoint/default/mini"
    async with (
        served(reader) as client,
        asyncio.timeout(60),
        client.stream("GET", f"{path}/sse") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        events = response.aiter_text()
        assert await told(events) == await api.get()
        await api.set(state=State.RUNNING)
        # Nothing was told in between: what comes next is the change.
        assert (await told(events))["status"]["state"] == "running"
        if end == "revoked":
            (mine,) = [t for t in await api.store.list_tokens() if t.name == "somebody"]
            await api.store.revoke_token(mine.id, api.time[0])
        else:
            await api.ok("DELETE", path)
        if end == "replaced":
            await api.create()
        with pytest.raises(StopAsyncIteration):
            await told(events)


async def test_following_what_is_not_there_is_refused(api: Api) -> None:
    await api.refused(404, "GET", "/v2/endpoint/default/mini/sse")
    await api.as_(None).refused(401, "GET", "/v2/endpoint/default/mini/sse")
