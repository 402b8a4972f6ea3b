"""What a user does with an endpoint, through the official client alone. Runs in an environment of that client's own.

`python story.py MODEL_FOLDER READ_ONLY_TOKEN`, with HF_ENDPOINT and HF_TOKEN set. Only the base address of the endpoints
API is assigned; the client is otherwise as installed. Prints one JSON object of what happened; an exception fails it.
"""

import asyncio
import json
import os
import sys
import time
import urllib.request

import huggingface_hub
from huggingface_hub import constants

BASE = os.environ["HF_ENDPOINT"]
constants.INFERENCE_ENDPOINTS_ENDPOINT = f"{BASE}/v2"

from huggingface_hub import (  # noqa: E402 - after the assignment, as a user's script would
    create_inference_endpoint,
    get_inference_endpoint,
    list_inference_endpoints,
    pause_inference_endpoint,
)
from huggingface_hub.utils import HfHubHTTPError  # noqa: E402

MODEL, READ_ONLY = sys.argv[1:]
VERSION = huggingface_hub.__version__
NAME = "story-" + VERSION.replace(".", "-")
QUESTION = "How do I get my money back?"
SENTENCES = ["Refunds are paid within five days.", "The sky is blue."]
# What scripts of that time say: before version 1 the names of instances were other ones.
OLD = VERSION.startswith("0.")
TYPE, SIZES = ("c6i", ("small", "medium")) if OLD else ("intel-spr", ("x1", "x2"))
HARDWARE = {"accelerator": "cpu", "vendor": "aws", "region": "us-east-1", "instance_type": TYPE}
seen = {"version": VERSION, "states": [], "refusals": {}}


def note(endpoint):
    seen["states"].append(str(getattr(endpoint.status, "value", endpoint.status)))


def create(name, size=SIZES[0]):
    return create_inference_endpoint(
        name,
        repository=MODEL,
        framework="pytorch",
        task="sentence-similarity",
        instance_size=size,
        min_replica=0,
        max_replica=1,
        **HARDWARE,
    )


def wait(endpoint):
    endpoint.wait(timeout=120, refresh_every=0.2)
    endpoint.fetch()  # versions before 0.30 look at the URL alone


def similarities(endpoint):
    return endpoint.client.sentence_similarity(QUESTION, other_sentences=SENTENCES)


async def similarities_async(endpoint):
    return await endpoint.async_client.sentence_similarity(QUESTION, other_sentences=SENTENCES)


def refused(call):
    """Status and words of the client's own exception."""
    try:
        call()
    except HfHubHTTPError as error:
        return [error.response.status_code, str(error)]
    raise AssertionError("was not refused")


def replicas():
    path = f"{BASE}/v2/endpoint/{endpoint.namespace}/{NAME}/replica"
    request = urllib.request.Request(path, headers={"Authorization": f"Bearer {os.environ['HF_TOKEN']}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["items"]


endpoint = create(NAME)
note(endpoint)
seen["type"] = endpoint.raw["type"]
wait(endpoint)
note(endpoint)
seen["similarities"] = similarities(endpoint)
seen["async"] = asyncio.run(similarities_async(endpoint))
seen["listed"] = [e.name for e in list_inference_endpoints()]
seen["everywhere"] = [e.name for e in list_inference_endpoints("*")]
seen["fetched"] = get_inference_endpoint(NAME).url

seen["refusals"] = {
    "unknown": refused(lambda: get_inference_endpoint("nothing")),
    "taken": refused(lambda: create(NAME)),
    "invalid": refused(lambda: create("other", size="x3")),
    "nobody": refused(lambda: list_inference_endpoints(namespace=endpoint.namespace, token="inl_wrong")),
    "reader": refused(lambda: pause_inference_endpoint(NAME, namespace=endpoint.namespace, token=READ_ONLY)),
}

endpoint.update(instance_size=SIZES[1])
note(endpoint)
while endpoint.fetch().status != "running":
    time.sleep(0.2)
seen["size"] = endpoint.raw["compute"]["instanceSize"]
seen["after_update"] = similarities(endpoint)

endpoint.pause()
note(endpoint)
while replicas():  # until the last one has drained: a request before that is simply answered
    time.sleep(0.1)
seen["refusals"]["paused"] = refused(lambda: similarities(endpoint))
endpoint.resume()
wait(endpoint)
note(endpoint)
if not VERSION.startswith("0.23"):
    endpoint.resume(running_ok=True)

endpoint.scale_to_zero()
note(endpoint)
while replicas():
    time.sleep(0.1)
started = time.monotonic()
seen["after_sleep"] = similarities(endpoint)
seen["wake_s"] = round(time.monotonic() - started, 2)
wait(endpoint)
note(endpoint)

endpoint.delete()
seen["refusals"]["deleted"] = refused(lambda: get_inference_endpoint(NAME))
print(json.dumps(seen))
