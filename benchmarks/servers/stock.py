"""A stand-in for the stock container of hosted inference endpoints: the same parts, put together in the same way.

Starlette on uvicorn, one process; a transformers pipeline in fp32, loaded before the port opens; one request at a time
in a thread, the others wait without limit. Bodies as in that container: `{"inputs": …}` in, the pipeline's result out.
"""

from __future__ import annotations

import asyncio

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.servers.classifier import classifier, port


def main() -> None:
    classify = classifier()
    one_at_a_time = asyncio.Semaphore(1)

    async def health(_: Request) -> Response:
        return PlainTextResponse("Ok")

    async def predict(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body())
            async with one_at_a_time:
                result = [await run_in_threadpool(classify, body["inputs"])]
        except Exception as error:  # noqa: BLE001 - that container answers 400 to whatever goes wrong
            return Response(orjson.dumps({"error": str(error)}), 400, media_type="application/json")
        return Response(orjson.dumps(result), media_type="application/json")

    routes = [
        Route("/", health, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
        Route("/", predict, methods=["POST"]),
        Route("/predict", predict, methods=["POST"]),
    ]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port())


if __name__ == "__main__":
    main()
