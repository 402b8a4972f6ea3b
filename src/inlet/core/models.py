"""Several models on one endpoint: the list that its owner writes as a variable of it, read and checked. Pure.

Read by the API, which refuses what cannot be, by control, which pins and completes it, and by replicas, which get it
completed in the same form. Must never look whether a model is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from inlet.core.errors import Invalid
from inlet.core.tasks import TASKS

MODELS = "INLET_SERVE_MODELS"
MOST_MODELS = 200
# A model's id is a part of paths: one or two pieces, as repositories of the Hub have.
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
_FIELDS = frozenset({"model_id", "repository", "revision", "task"})
_DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True)
class Listed:
    """One model. `repository` is one of the Hub, or a folder as an absolute path or `file://` URL.

    `revision` None is the Hub's `main`, `task` None the one that the model's files tell.
    """

    model_id: str
    repository: str
    revision: str | None = None
    task: str | None = None


def models_of(text: str, *, field: str = MODELS) -> tuple[Listed, ...]:
    """A JSON list of objects or of the short form's texts, or the short form: `org/a,org/b@revision,/folder/c`.

    Empty where nothing is listed. `Invalid` names the entry and what is wrong with it.
    """
    if text.lstrip().startswith(("[", "{")):
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"is not a JSON list: {error}", field=field) from error
        if not isinstance(entries, list):
            raise Invalid("is not a JSON list: put [ and ] around the models", field=field)
    else:
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if len(entries) > MOST_MODELS:
        raise Invalid(f"lists {len(entries)} models; at most {MOST_MODELS} are possible", field=field)
    models = tuple(_listed(entry, f"{field}[{number}]") for number, entry in enumerate(entries))
    _check_ids(models, field)
    return models


def own_first(own: Listed, models: Sequence[Listed], *, field: str = MODELS) -> tuple[Listed, ...]:
    """What is served: the endpoint's own model, then the others.

    An entry that is the endpoint's own model gives it its id; `own.model_id` is what it is called without one.
    """
    same = [entry for entry in models if _is_same(own, entry)]
    if same:
        own = replace(own, model_id=same[0].model_id)
    served = own, *(entry for entry in models if entry is not (same[0] if same else None))
    _check_ids(served, field)
    return served


def name_of(repository: str) -> str:
    """What a model is called that was given no name: its repository, or its folder's name."""
    if not is_folder(repository):
        return repository
    return repository.rstrip("/").rpartition("/")[2]


def is_folder(repository: str) -> bool:
    """Whether it is a local folder and none of the Hub."""
    return repository.startswith(("/", "file://"))


def entry_field(models: Sequence[Listed], entry: Listed, *, field: str = MODELS) -> str:
    """Where in the list as it was written the entry stands, for an error."""
    return f"{field}[{list(models).index(entry)}]"


def written(models: Sequence[Listed]) -> str:
    """The list as JSON that `models_of` reads."""
    return json.dumps([asdict(entry) for entry in models])


def _listed(entry: Any, field: str) -> Listed:
    if isinstance(entry, str):
        repository, _, revision = (entry, "", "") if is_folder(entry) else entry.partition("@")
        return Listed(name_of(repository), repository, revision or None)
    if not isinstance(entry, Mapping):
        raise Invalid('expected an object like {"repository": "org/name"}', field=field)
    for name, value in entry.items():
        if name not in _FIELDS:
            raise Invalid(f"is not known; there are {', '.join(sorted(_FIELDS))}", field=f"{field}.{name}")
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise Invalid("expected a text", field=f"{field}.{name}")
    if entry.get("repository") is None:
        raise Invalid(
            "missing: a repository of the Hub ('owner/name') or a folder", field=f"{field}.repository"
        )
    repository, task = str(entry["repository"]), entry.get("task")
    if task is not None and task not in TASKS:
        raise Invalid(f"{task!r} is none of {', '.join(sorted(TASKS))}", field=f"{field}.task")
    return Listed(entry.get("model_id") or name_of(repository), repository, entry.get("revision"), task)


def _check_ids(models: Sequence[Listed], field: str) -> None:
    ids: set[str] = set()
    for entry in models:
        if not _ID.fullmatch(entry.model_id) or ".." in entry.model_id:
            raise Invalid(
                f"the model_id {entry.model_id[:100]!r} cannot stand in a path: give {entry.repository[:100]} one of letters, "
                "digits, '.', '_', '-' and at most one '/'",
                field=field,
            )
        if entry.model_id in ids:
            raise Invalid(f"two models are called {entry.model_id!r}: give one another model_id", field=field)
        ids.add(entry.model_id)
    for name in ids:
        if (owner := name.partition("/")[0]) != name and owner in ids:
            raise Invalid(
                f"the path of {owner!r} would be the beginning of {name!r}'s: give one another model_id",
                field=field,
            )


def _is_same(own: Listed, entry: Listed) -> bool:
    revisions = {None, _DEFAULT_REVISION, own.revision}
    return (
        entry.repository == own.repository and entry.revision in revisions and entry.task in (None, own.task)
    )
