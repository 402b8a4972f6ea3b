"""Loads a scikit-learn model from its folder and finds out what it can do. Called by `loader` in a thread.

The security border is here: a pickle (`.pkl`, `.joblib`) runs whatever code its author put into it, so it is not opened
unless the endpoint's owner allowed that; a skops file makes objects of known types only, and each further type must be
allowed by name.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from inlet.core.errors import Refused
from inlet.core.trust import ALLOW_CODE, ALLOW_PICKLE, TRUSTED_TYPES, Trust
from inlet.runtime.calls import Predictor
from inlet.runtime.sklearn import files
from inlet.runtime.sklearn.versions import Versions, pinned
from inlet.runtime.tasks import TABULAR

_TASKS = (*TABULAR, "text-classification")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A fitted model. `settings`: what `config.json` says of it; `file`: its name in the repository."""

    estimator: Any
    file: str
    settings: Mapping[str, Any]
    versions: Versions

    def describe(self) -> dict[str, Any]:
        """For `GET /info`."""
        return {
            "architecture": type(self.estimator).__name__,
            "engine": "sklearn",
            "variant": "sklearn",
            "reason": f"scikit-learn computes {self.file} as it is",
            "settled": True,
            "scikit_learn": {"saved_with": self.versions.saved, "installed": self.versions.installed},
            "warning": self.versions.mismatch,
        }


def open_predictor(folder: Path, task: str, trust: Trust) -> Predictor:
    """What answers the requests of that task; `Refused` says what a person must do."""
    begin = perf_counter()
    if task not in _TASKS:
        raise Refused(f"a scikit-learn model does {', '.join(_TASKS)}, not {task}", field="task")
    opened = _open(folder, trust)
    _check_kind(opened.estimator, task)
    predictor: Predictor
    if task in TABULAR:
        from inlet.runtime.sklearn.tabular import TabularPredictor

        predictor = TabularPredictor(opened, task)
    else:
        from inlet.runtime.sklearn.text import TextPredictor

        predictor = TextPredictor(opened)
    _log.info(
        "loaded %s (%s) for %s in %.2f s",
        opened.file, type(opened.estimator).__name__, task, perf_counter() - begin,
    )  # fmt: skip
    if opened.versions.mismatch:
        _log.warning("%s", opened.versions.mismatch)
    return predictor


def _open(folder: Path, trust: Trust) -> Opened:
    config, names = files.folder_config(folder), files.names_in(folder)
    name = files.model_file(names, config)
    if name is None:
        raise Refused(
            "there is no scikit-learn model: expected model.skops, model.joblib or model.pkl, or a file that config.json "
            "names as sklearn.model.file",
            field="model",
        )
    try:
        import sklearn
    except ImportError as error:
        raise Refused(
            "scikit-learn models need scikit-learn: install inlet-endpoints[sklearn] on the server"
        ) from error
    settings = files.settings(config)
    by_skops = name.endswith(files.SKOPS) or settings.get("model_format") == "skops"
    if not by_skops and not trust.code:
        raise Refused(
            f"{name} is a pickle, which can run any code, and no code from repositories is run here ({ALLOW_CODE}=0): convert it "
            "where you trust it: skops.io.dump(joblib.load(file), 'model.skops')",
            field="model",
        )
    if not by_skops and not trust.pickle:
        raise Refused(
            f"{name} is a pickle, which can run any code on this server when it is loaded. If you trust whoever made it, set "
            f"{ALLOW_PICKLE}=1 in the endpoint's env; better, convert it once where you trust it: "
            "skops.io.dump(joblib.load(file), 'model.skops')",
            field="model",
        )
    requirements = [*_listed(settings.get("environment")), *_lines(folder / files.REQUIREMENTS)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = _skops(folder / name, trust) if by_skops else _pickle(folder / name)
        except (Refused, MemoryError):
            raise
        except Exception as error:
            versions = Versions(_saved(caught) or pinned(requirements), sklearn.__version__)
            raise Refused(_why(name, error, versions), field="model") from error
    versions = Versions(_saved(caught) or pinned(requirements), sklearn.__version__)
    return Opened(estimator, name, settings, versions)


def _skops(path: Path, trust: Trust) -> Any:
    from skops.io import get_untrusted_types, load

    unknown = sorted(set(get_untrusted_types(file=path)) - set(trust.types))
    if unknown:
        raise Refused(
            f"{path.name} holds types that are not known to be harmless: {', '.join(unknown)}. If you trust them, set "
            f"{TRUSTED_TYPES}={','.join((*trust.types, *unknown))} in the endpoint's env",
            field="model",
        )
    return load(path, trusted=list(trust.types))


def _pickle(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _why(name: str, error: Exception, versions: Versions) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{name} needs the Python package {error.name!r}, which is not installed on the server"
    hint = f"; {versions.mismatch}" if versions.mismatch else ""
    return f"{name} cannot be loaded: {type(error).__name__}: {error}{hint}"


def _saved(caught: list[warnings.WarningMessage]) -> str | None:
    """The version that scikit-learn itself found in the file, which it only tells when it differs."""
    found = (getattr(item.message, "original_sklearn_version", None) for item in caught)
    return next((str(version) for version in found if version), None)


def _check_kind(estimator: Any, task: str) -> None:
    if not callable(getattr(estimator, "predict", None)):
        raise Refused(
            f"the file holds a {type(estimator).__name__}, not a model with `predict`", field="model"
        )
    kind = getattr(estimator, "_estimator_type", None) or _tagged(estimator)
    other = {"classifier": "classification", "regressor": "regression"}.get(kind or "")
    if other is not None and not task.endswith(other):
        raise Refused(
            f"{type(estimator).__name__} is a {kind}: it does tabular-{other}, not {task}", field="task"
        )


def _tagged(estimator: Any) -> str | None:
    """Which kind of model scikit-learn's newer versions say it is."""
    try:
        from sklearn.utils import get_tags

        kind = get_tags(estimator).estimator_type
    except (
        ImportError,
        AttributeError,
        TypeError,
    ):  # an older scikit-learn, or a model that is none of its own
        return None
    return None if kind is None else str(kind)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []
