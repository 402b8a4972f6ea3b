"""Finding out, once per revision, what its model is: the commit to pin, and the task.

Called by the reconciler in the background, never by the API. The only module of control that talks to the Hub. A person
must mend → `Refused`; worth another try → `Unavailable`. Only the endpoint's or the server's Hub token goes out, never
a token of Inlet.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from inlet.core.endpoint import Source
from inlet.core.errors import Refused, Unavailable
from inlet.core.handlers import CLASSES, is_ignored
from inlet.core.models import MODELS, Listed, entry_field, models_of, name_of, own_first
from inlet.core.spec import Model
from inlet.core.tasks import TASKS, guess_task, is_model

CUSTOM = "custom"
"""The image and the task of which nothing is known here."""

HUB_TIMEOUT_S = 10.0  # without a byte
HUB_IN_ALL_S = 60.0
MODELS_FIELD = f"model.env.{MODELS}"


async def look_up(model: Model, *, token: str | None) -> Source:
    """What `model` is now, and every other that is served with it. `token` is for the Hub, None for anonymous."""
    source = await _look_up(model, token)
    first, *others = served(model) or (None,)
    if first is None:
        return source
    models = [replace(first, repository=source.location, revision=source.commit, task=source.task)]
    for entry in others:
        other = replace(model, repository=entry.repository, revision=entry.revision, task=entry.task)
        try:
            found = await _look_up(other, token)
        except (Refused, Unavailable) as error:
            raise type(error)(str(error), field=listed_at(model, entry)) from error
        models.append(Listed(entry.model_id, found.location, found.commit, found.task))
    return replace(source, models=tuple(models))


def served(model: Model) -> tuple[Listed, ...]:
    """All models of a list as they were written, the endpoint's own first; empty where there is no list."""
    listed = _listed(model)
    own = Listed(name_of(model.repository), model.repository, model.revision, model.task)
    return own_first(own, listed, field=MODELS_FIELD) if listed else ()


def listed_at(model: Model, entry: Listed) -> str:
    """The field where the list has that entry."""
    return entry_field(_listed(model), entry, field=MODELS_FIELD)


def _listed(model: Model) -> tuple[Listed, ...]:
    return models_of(model.env.get(MODELS) or "", field=MODELS_FIELD)


async def _look_up(model: Model, token: str | None) -> Source:
    path = local_path(model.repository)
    if path is not None:
        return await asyncio.to_thread(_in_folder, path, model)
    try:
        async with asyncio.timeout(HUB_IN_ALL_S):
            return await _apart(lambda: _on_hub(model, token))
    except TimeoutError:
        raise Unavailable(
            f"the Hub did not finish its answer about {model.repository} within {HUB_IN_ALL_S:.0f} s"
        ) from None


async def _apart(work: Callable[[], Source]) -> Source:
    """Run it in a thread that may be left behind.

    The Hub may keep it for long, and neither other work in the shared threads nor the end of this process may wait for that.
    """
    outcome: Future[Source] = Future()

    def run() -> None:
        outcome.set_running_or_notify_cancel()
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="look up", daemon=True).start()
    return await asyncio.wrap_future(outcome)


def local_path(repository: str) -> Path | None:
    """The folder that a repository names, or None when it is one on the Hub."""
    if repository.startswith("file://"):
        return Path(repository.removeprefix("file://"))
    return Path(repository) if repository.startswith("/") else None


def _in_folder(path: Path, model: Model) -> Source:
    folder = path.resolve()
    try:
        files = {entry.name for entry in folder.iterdir()}
        bare = "config.json" not in files and (is_model(files) or model.image.kind == CUSTOM)
        config = {} if bare else json.loads((folder / "config.json").read_bytes())
    except OSError as error:
        raise Refused(
            f"{model.repository}: {error.strerror}: it must be a folder with a config.json, a scikit-learn model, a .gguf file or a handler.py"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{model.repository}: config.json is not JSON ({error})") from error
    return Source(str(folder), local=True, commit=None, task=_task(model, config, files, None))


def _on_hub(model: Model, token: str | None) -> Source:
    # Imported here: it costs a tenth of a second that a start without Hub models need not pay.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = model.repository
    try:
        info = HfApi(token=token or False).model_info(name, revision=model.revision, timeout=HUB_TIMEOUT_S)
    except GatedRepoError as error:
        raise Refused(
            f"{name} is gated on the Hub: accept its conditions there, and give the endpoint a secret HF_TOKEN "
            "of an account that did"
        ) from error
    except RevisionNotFoundError as error:
        raise Refused(
            f"{name} has no revision {model.revision!r} on the Hub: check model.revision"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise Refused(
            f"{name} was not found on the Hub: check model.repository; if it is private, give the endpoint a "
            "secret HF_TOKEN that may read it"
        ) from error
    except HfHubHTTPError as error:
        raise Unavailable(f"the Hub answered {error.response.status_code} when asked about {name}") from error
    except Exception as error:
        # Whatever else a client stack of several transport libraries may raise (timeouts, name resolution, TLS, 5xx):
        # none of it says anything about the model, so it is worth another try.
        raise Unavailable(f"the Hub could not be asked about {name} ({type(error).__name__})") from error
    if info.sha is None:
        raise Refused(f"{name} has no commits on the Hub")
    files = {sibling.rfilename for sibling in info.siblings or ()}
    return Source(
        name, local=False, commit=info.sha, task=_task(model, info.config or {}, files, info.pipeline_tag)
    )


def _task(model: Model, config: Mapping[str, Any], files: set[str], tag: str | None) -> str:
    wanted = files - set(CLASSES) if is_ignored(model.env) else files
    task = model.task or guess_task(config, wanted, tag) or (CUSTOM if model.image.kind == CUSTOM else None)
    if task is None:
        raise Refused(
            f"the task of {model.repository} cannot be told from its files: set model.task to one of "
            + ", ".join(sorted(TASKS))
        )
    return task
