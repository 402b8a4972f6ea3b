"""Serves several models: finds the one that a request is meant for, has it loaded, and asks it. Made by `serve`, asked by `app`.

A request is meant for the endpoint's own model, the first one, unless its path or its body names another. What can be
asked at a path is the model's business, so that it is known only once the model is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from time import time
from typing import Any

from inlet.core.errors import InletError, NotFound
from inlet.runtime import answers, info
from inlet.runtime.answers import Answer
from inlet.runtime.many.addressing import by_body, by_path
from inlet.runtime.many.metrics import ModelMetrics
from inlet.runtime.many.place import Place
from inlet.runtime.many.residents import Residents
from inlet.runtime.metrics import Metrics
from inlet.runtime.native import routes_of
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Route, Serving
from inlet.runtime.starting import Reporter


async def start(options: Options, metrics: Metrics, report: Reporter) -> Many:
    """The models of `options.models`, the first one loaded; fails as `starting.start` does for that one."""
    places = [
        Place(
            model,
            replace(
                options,
                location=model.repository,
                commit=model.revision,
                task=model.task or "",
                models=(),
            ),
        )
        for model in options.models
    ]
    residents = Residents(places, metrics, options.memory)
    await residents.load(places[0], report)
    metrics.registry.register(ModelMetrics(places))
    return Many(places, residents)


class Many(Serving):
    """The models of one endpoint as one. `places`: the endpoint's own model first."""

    def __init__(self, places: list[Place], residents: Residents) -> None:
        super().__init__()
        self._own, self._residents = places[0], residents
        self._places = {place.listed.model_id: place for place in places}
        self._since = int(time())
        self._lists: Mapping[str, Callable[[], Answer]] = {
            "/models": lambda: answers.ok({"models": self._rows()}),
            "/v1/models": lambda: answers.ok(self._openai()),
        }

    @property
    def task(self) -> str:
        return self._own.served.task if self._own.served is not None else self._own.options.task

    def admit(self, arrived: float, patience: float | None) -> None:
        """Nobody: whether a request would wait depends on the model, which is asked once it is known."""

    async def answer(self, asked: Asked) -> Answer:
        return await self._by_body(asked)

    def does(self, task: str) -> bool:  # noqa: ARG002 - the model that the request is meant for decides
        return True

    def routes(self, path: str, options: Options) -> Mapping[str, Route]:
        if path in self._lists:
            return {"GET": _given(self._lists[path])}
        try:
            named = by_path(path, self._places)
        except NotFound as error:
            return dict.fromkeys(("GET", "POST"), _refused(error))
        if named is None:
            found = {} if self._own.served is None else dict(routes_of(self._own.served, path, options))
            refuse = found["POST"].refuse if "POST" in found else answers.from_error
            return {**found, "POST": Route(self._by_body, refuse)}
        model_id, rest = named
        place = self._places[model_id]
        told: Mapping[str, Callable[[], Mapping[str, Any]]] = {
            "/": place.row,
            "/info": lambda: self._described(place),
        }
        routes = {method: Route(partial(self._asked_at, place, rest, method)) for method in ("GET", "POST")}
        if rest in told and rest != path:
            tell = told[rest]
            routes["GET"] = _given(lambda: answers.ok(tell()))
        return routes

    def describe(self, options: Options) -> Mapping[str, Any]:
        return {**self._described(self._own, options), "models": self._rows()}

    def close(self) -> None:
        self._residents.close()

    def _rows(self) -> list[dict[str, Any]]:
        return [place.row() for place in self._places.values()]

    def _openai(self) -> dict[str, Any]:
        data = [
            {"id": model_id, "object": "model", "created": self._since, "owned_by": "inlet"}
            for model_id in self._places
        ]
        return {"object": "list", "data": data}

    def _described(self, place: Place, options: Options | None = None) -> Mapping[str, Any]:
        if place.served is None:
            return info.of_any(options or place.options, place.options.task)
        return place.served.describe(options or place.options)

    async def _by_body(self, asked: Asked) -> Answer:
        named = by_body(asked, self._places)
        place = self._own if named is None else self._places[named]
        return await self._asked_at(place, asked.path, "POST", asked)

    async def _asked_at(self, place: Place, path: str, method: str, asked: Asked) -> Answer:
        """What the model answers to that at this path, in its words also when it refuses."""
        until = None if asked.patience is None else asked.arrived + asked.patience
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._residents.using(place, until))
            assert place.served is not None  # noqa: S101 - it is being used
            routes = routes_of(place.served, path, place.options)
            if method not in routes:
                raise NotFound(f"the model {place.listed.model_id!r} has nothing for {method} at {path}")
            asked = _from_now(replace(asked, path=path))
            try:
                place.served.admit(asked.arrived, asked.patience)
                answer = await routes[method].respond(asked)
            except InletError as error:
                answer = routes[method].refuse(error)
            if not isinstance(answer.body, bytes):
                pieces = _while_held(answer.body, held.pop_all())
                await anext(pieces)
                answer = replace(answer, body=pieces)
            return answer


def _from_now(asked: Asked) -> Asked:
    """The same with what is left of its patience: what it waited for the model to be loaded is not held against it."""
    now = asyncio.get_running_loop().time()
    patience = None if asked.patience is None else max(0.0, asked.patience - (now - asked.arrived))
    return replace(asked, arrived=now, patience=patience)


async def _while_held(
    pieces: AsyncGenerator[bytes, None], held: AsyncExitStack
) -> AsyncGenerator[bytes, None]:
    """The pieces, while the model stays in use. The first one is empty: what has begun is ended also when nobody reads on."""
    async with held, aclosing(pieces):
        yield b""
        async for piece in pieces:
            yield piece


def _given(answer: Callable[[], Answer]) -> Route:
    async def respond(_: Asked) -> Answer:
        return answer()

    return Route(respond)


def _refused(error: InletError) -> Route:
    async def respond(_: Asked) -> Answer:
        raise error

    return Route(respond)
