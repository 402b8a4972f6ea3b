"""Which models may be named: a repository id of the Hub by its shape, a local folder by where it truly lies.

Asked by `control/admission.py` before an intent is committed. Looks at names of files only (stat), never into them,
and talks to nobody: whether the Hub has the model is `control/lookup.py`'s question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inlet.control.lookup import CUSTOM, listed_at, local_path, served
from inlet.core.errors import Invalid
from inlet.core.spec import Model
from inlet.core.tasks import is_model

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?:{_PART}/)?{_PART}")
_DEFAULT_REVISION = "main"  # older clients always send it


def check_source(model: Model, *, folders: Sequence[Path], home: Path) -> None:
    """`Invalid` unless the repository, and each one that is served with it, may be served.

    `folders` are resolved; nothing below `home` is ever served.
    """
    of_any_kind = model.image.kind == CUSTOM
    _check(model.repository, model.revision, "model", folders, home, of_any_kind=of_any_kind)
    for entry in served(model)[1:]:
        _check(entry.repository, entry.revision, listed_at(model, entry), folders, home)


def _check(
    repository: str,
    revision: str | None,
    field: str,
    folders: Sequence[Path],
    home: Path,
    *,
    of_any_kind: bool = False,
) -> None:
    """`field`: what has the fields `repository` and `revision`. `of_any_kind`: a folder need not be a model that we know."""
    path = local_path(repository)
    field, revisions = f"{field}.repository", f"{field}.revision"
    if path is None:
        _check_hub_id(repository, field)
        return
    if revision not in (None, _DEFAULT_REVISION):
        raise Invalid("a local folder has no revisions: leave it out", field=revisions)
    if not path.is_absolute():
        raise Invalid("a local folder is given as an absolute path or file:///path", field=field)
    try:
        folder = path.resolve()
        # Where it lies is asked before whether it exists, so that answers tell nothing about the rest of the disk.
        allowed = any(folder.is_relative_to(root) for root in folders)
        if not allowed or folder.is_relative_to(home.resolve()):
            raise Invalid(
                f"{repository} is not below a folder that models may be served from: move it there, "
                "or name its folder in INLET_MODELS",
                field=field,
            )
        if not folder.is_dir():
            raise Invalid(f"there is no folder {repository}", field=field)
        if not of_any_kind and not is_model({entry.name for entry in folder.iterdir() if entry.is_file()}):
            raise Invalid(
                f"{repository} has no config.json, no scikit-learn model (.skops, .joblib, .pkl), no .gguf file and no handler.py: name the "
                "folder of a model",
                field=field,
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise Invalid(f"{repository} cannot be looked at: {error}", field=field) from error


def _check_hub_id(repository: str, field: str) -> None:
    if _HUB_ID.fullmatch(repository) is None or "--" in repository or ".." in repository:
        raise Invalid(
            f"{repository[:100]!r} is neither a repository of the Hub ('owner/name') nor a local folder "
            "(an absolute path or file:///path)",
            field=field,
        )
