"""What the OpenAPI document cannot say, told to Schemathesis, so that its well-formed requests get past the first check.

Loaded by `st` through schemathesis.toml. Only requests that are meant to be right are changed.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

NAMES = ("mini", "a", "x-1")
PROVIDER = {"vendor": "aws", "region": "us-east-1"}
INSTANCE = {"accelerator": "cpu", "instanceType": "intel-spr", "instanceSize": "x1"}


@schemathesis.hook
def map_case(_context: HookContext, case: Case) -> Case:
    """Few names, so that requests meet each other's endpoints, and an instance that there is."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    if "name" in case.path_parameters:
        case.path_parameters["name"] = _one_of_few(case.path_parameters["name"])
    if isinstance(case.body, dict) and "compute" in case.body and case.method == "POST":
        case.body = _possible(case.body)
    return case


def _possible(body: dict[str, Any]) -> dict[str, Any]:
    scaling = {**body["compute"]["scaling"], "measure": None, "metric": None}
    low, high = sorted((scaling["minReplica"], scaling["maxReplica"]))
    scaling |= {"minReplica": low % 3, "maxReplica": max(1, high % 3, low % 3)}
    model = {**body["model"], "image": {"huggingface": {}}, "repository": "acme/mini"}
    known = {key: body[key] for key in ("tags", "type", "notifications") if key in body}
    return {
        **known,
        "name": _one_of_few(body["name"]),
        "provider": PROVIDER,
        "compute": {**INSTANCE, "scaling": scaling},
        "model": {
            key: model[key] for key in ("framework", "image", "repository", "env", "tags") if key in model
        },
    }


def _one_of_few(name: object) -> str:
    return name if name in NAMES else NAMES[len(str(name)) % len(NAMES)]
