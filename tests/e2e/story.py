"""What a user does with an endpoint, through the official client alone. Runs in an environment of that client's own.

`python story.py MODEL_FOLDER`, with HF_ENDPOINT and HF_TOKEN set. Only the base address of the endpoints API is
assigned; the client is otherwise as installed. Prints one JSON object of what happened; an exception fails it.
"""

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
)
from huggingface_hub.errors import HfHubHTTPError  # noqa: E402

NAME = "story-" + huggingface_hub.__version__.replace(".", "-")
seen = {"version": huggingface_hub.__version__, "states": []}


def note(endpoint):
    seen["states"].append(str(getattr(endpoint.status, "value", endpoint.status)))


def similarities(endpoint):
    return endpoint.client.sentence_similarity(
        "How do I get my money back?",
        other_sentences=["Refunds are paid within five days.", "The sky is blue."],
    )


def replicas():
    path = f"{BASE}/v2/endpoint/{endpoint.namespace}/{NAME}/replica"
    request = urllib.request.Request(path, headers={"Authorization": f"Bearer {os.environ['HF_TOKEN']}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["items"]


endpoint = create_inference_endpoint(
    NAME,
    repository=sys.argv[1],
    framework="pytorch",
    task="sentence-similarity",
    accelerator="cpu",
    vendor="aws",
    region="us-east-1",
    instance_size="x1",
    instance_type="intel-spr",
    min_replica=0,
    max_replica=1,
)
note(endpoint)
endpoint.wait(timeout=60, refresh_every=1)
note(endpoint)
seen["similarities"] = similarities(endpoint)
seen["listed"] = [e.name for e in list_inference_endpoints()]

endpoint.update(instance_size="x2")
note(endpoint)
endpoint.wait(timeout=60, refresh_every=1)
seen["size"] = endpoint.raw["compute"]["instanceSize"]
seen["after_update"] = similarities(endpoint)

endpoint.pause()
note(endpoint)
while replicas():  # until the last one has drained: a request before that is simply answered
    time.sleep(0.1)
try:
    similarities(endpoint)
except HfHubHTTPError as error:
    seen["paused_answer"] = error.response.status_code
endpoint.resume()
endpoint.wait(timeout=60, refresh_every=1)
note(endpoint)
endpoint.resume(running_ok=True)

endpoint.scale_to_zero()
note(endpoint)
while replicas():
    time.sleep(0.1)
started = time.monotonic()
seen["after_sleep"] = similarities(endpoint)
seen["wake_s"] = round(time.monotonic() - started, 2)
endpoint.fetch()
note(endpoint)

endpoint.delete()
try:
    get_inference_endpoint(NAME)
except HfHubHTTPError as error:
    seen["deleted_answer"] = error.response.status_code
print(json.dumps(seen))
