"""Which model a request is meant for: by its path, or by `model_id` or `model` in its body. Called by `serving`.

Pure. Knows ids only: whether a model is loaded, or can be, is not asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from inlet.core.errors import InletError, Invalid, NotFound
from inlet.runtime import body
from inlet.runtime.dialect import kind
from inlet.runtime.serving import Asked

# `/v2/models/{name}/infer` is the whole path of a route of the model's own; what follows `/models/{id}` is one.
_OWN = "/models/"
_KEPT = "/v2/models/"
_FIELDS = ("model_id", "model")


def by_path(path: str, ids: Collection[str]) -> tuple[str, str] | None:
    """Id and the path that the model is asked at; None where the path names no model. `NotFound` for an unknown one."""
    for prefix in (_OWN, _KEPT):
        if not path.startswith(prefix):
            continue
        named = path.removeprefix(prefix)
        for model_id in ids:
            if named == model_id or named.startswith(f"{model_id}/"):
                return model_id, path if prefix == _KEPT else named.removeprefix(model_id) or "/"
        raise NotFound(f"there is no model at {path}; {_listed(ids)}")
    return None


def by_body(asked: Asked, ids: Collection[str]) -> str | None:
    """The id that the body names, None for none; `Invalid` if it is not one of `ids`."""
    fields = _fields(asked)
    for field in _FIELDS:
        if (named := fields.get(field)) is None:
            continue
        if not isinstance(named, str):
            raise Invalid(f"expected a string, got {kind(named)}; {_listed(ids)}", field=field)
        if named not in ids:
            raise Invalid(f"there is no model {named[:100]!r}; {_listed(ids)}", field=field)
        return named
    return None


def _fields(asked: Asked) -> Mapping[str, object]:
    """The fields of a JSON body. What cannot be read as one is for the model to refuse."""
    # Most requests name no model, and are not read twice for it. In another character set it cannot be told so.
    if b'"model' not in asked.content and "charset" not in asked.headers.get("content-type", ""):
        return {}
    try:
        return body.parse(asked.content, asked.headers)
    except InletError:
        return {}


def _listed(ids: Collection[str]) -> str:
    return f"there are: {', '.join(ids)}"
