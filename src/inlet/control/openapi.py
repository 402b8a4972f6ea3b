"""The OpenAPI document: made by FastAPI from the routes, completed with bodies and errors.

Served by `control/app.py` at both paths where clients look for it. Needed because bodies are read and judged by
ourselves (`answers.json_object`, `wire/v2`), so that errors name fields and presence is kept.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from inlet.wire.accounts import NewNamespace, NewToken
from inlet.wire.v2 import schema
from inlet.wire.v2.documents import Create

BEARER = Security(HTTPBearer(auto_error=False, scheme_name="token"))
"""For the document only: `auth.Guard` is what reads the header."""

_IN_PATH = re.compile(r"{(\w+)}")
_REF = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (Create, schema.Update, NewToken, NewNamespace)


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is this shape (one of `_BODIES`)."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}},
        }
    }


def document(app: FastAPI, *, version: str, url: str) -> dict[str, Any]:
    """The document of all routes of `app`; `url` is the public origin."""
    made = get_openapi(
        title="Inlet",
        version=version,
        summary="Self-hosted inference endpoints.",
        routes=app.routes,
        servers=[{"url": url}],
    )
    for path, operation in ((path, item) for path, items in made["paths"].items() for item in items.values()):
        _add_path_parameters(path, operation)
        responses = operation["responses"]
        responses.pop("422", None)
        responses["default"] = {
            "description": "Any error",
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}},
        }
    shapes: list[type[BaseModel]] = [*_BODIES, schema.Error]
    _, definitions = models_json_schema([(shape, "validation") for shape in shapes], ref_template=_REF)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, definition in definitions["$defs"].items():
        schemas.setdefault(name, definition)
    return made


def _add_path_parameters(path: str, operation: dict[str, Any]) -> None:
    """Those that the handler itself has no use for, and which FastAPI therefore does not know."""
    known = {parameter["name"] for parameter in operation.get("parameters", ())}
    missing = [name for name in _IN_PATH.findall(path) if name not in known]
    if missing:
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in missing
        )
