"""The SDK: Inlet's public API from Python, blocking (`Client`) and with asyncio (`AsyncClient`).

    with Client("http://127.0.0.1:8080", token) as client:
        client.create_endpoint(endpoint_document("mini", "sentence-transformers/all-MiniLM-L6-v2"))
        client.wait("mini")
        client.predict("mini", "What a fine day.")

`calls` prepares requests and reads answers, once; `blocking` and `asynchronous` only do the I/O. Errors are those of
`inlet.core.errors`, by status, with the server's sentence and `request_id`. Used by `cli/`; knows nothing of control.
"""

from inlet.client.asynchronous import AsyncClient
from inlet.client.blocking import Client
from inlet.client.calls import endpoint_document
from inlet.client.info import EndpointInfo

__all__ = ["AsyncClient", "Client", "EndpointInfo", "endpoint_document"]
