"""Which models may be named: a repository id of the Hub by its shape, a local folder by where it truly lies.

Asked by `control/admission.py` before an intent is committed. Looks at names of files only (stat), never into them,
and talks to nobody: whether the Hub has the model is `control/lookup.py`'s question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inlet.control.lookup import local_path
from inlet.core.errors import Invalid
from inlet.core.spec import Model
from inlet.core.tasks import is_model

_FIELD = "model.repository"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?:{_PART}/)?{_PART}")
_DEFAULT_REVISION = "main"  # older clients always send it


def check_source(model: Model, *, folders: Sequence[Path], home: Path) -> None:
    """`Invalid` unless the repository may be served. `folders` are resolved; nothing below `home` is ever served."""
    path = local_path(model.repository)
    if path is None:
        _check_hub_id(model.repository)
        return
    if model.revision not in (None, _DEFAULT_REVISION):
        raise Invalid("a local folder has no revisions: leave it out", field="model.revision")
    if not path.is_absolute():
        raise Invalid("a local folder is given as an absolute path or file:///path", field=_FIELD)
    try:
        folder = path.resolve()
        # Where it lies is asked before whether it exists, so that answers tell nothing about the rest of the disk.
        allowed = any(folder.is_relative_to(root) for root in folders)
        if not allowed or folder.is_relative_to(home.resolve()):
            raise Invalid(
                f"{model.repository} is not below a folder that models may be served from: move it there, "
                "or name its folder in INLET_MODELS",
                field=_FIELD,
            )
        if not folder.is_dir():
            raise Invalid(f"there is no folder {model.repository}", field=_FIELD)
        if not is_model({entry.name for entry in folder.iterdir() if entry.is_file()}):
            raise Invalid(
                f"{model.repository} has no config.json and no scikit-learn model (.skops, .joblib, .pkl): name the folder of "
                "a model",
                field=_FIELD,
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise Invalid(f"{model.repository} cannot be looked at: {error}", field=_FIELD) from error


def _check_hub_id(repository: str) -> None:
    if _HUB_ID.fullmatch(repository) is None or "--" in repository or ".." in repository:
        raise Invalid(
            f"{repository[:100]!r} is neither a repository of the Hub ('owner/name') nor a local folder "
            "(an absolute path or file:///path)",
            field=_FIELD,
        )
