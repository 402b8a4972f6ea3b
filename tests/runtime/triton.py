"""Asks a replica by Triton's own client, run by `test_protocols_openinference` in an environment that has it: URL, model kind."""

from __future__ import annotations

import json
import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput


def texts(*values: str, binary: bool) -> InferInput:
    tensor = InferInput("text", [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
    return tensor


def main(kind: str, url: str) -> None:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("anything", "3")
        assert client.get_server_metadata()["name"] == "inlet"
        metadata = client.get_model_metadata("anything")
        found = []
        for binary in (True, False):
            if kind == "table":
                tensor = InferInput("input-0", [2, 4], "FP64")
                rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]])
                tensor.set_data_from_numpy(rows, binary_data=binary)
            else:
                tensor = texts("snow", "the team won näive", binary=binary)
            wanted = [InferRequestedOutput(item["name"], binary_data=binary) for item in metadata["outputs"]]
            for outputs in (wanted, None):
                answer = client.infer("anything", [tensor], outputs=outputs, request_id="7")
                assert answer.get_response()["id"] == "7"
                named = [item["name"] for item in answer.get_response()["outputs"]]
                arrays = {name: answer.as_numpy(name) for name in named}
                found.append({name: [str(a.dtype), _plain(a)] for name, a in arrays.items()})
        every = found[0]
        assert list(every) == [item["name"] for item in metadata["outputs"]]
        # Who names none may get fewer: probabilities are computed for those who want them.
        assert all(one and one == {name: every[name] for name in one} for one in found), found
        print(json.dumps({"metadata": metadata, "outputs": list(every.values())}))


def _plain(array: np.ndarray) -> list:
    items = array.ravel().tolist()
    decoded = [item.decode() if isinstance(item, bytes) else item for item in items]
    return np.array(decoded, dtype=object).reshape(array.shape).tolist()


main(*sys.argv[1:])
