"""What `GET /info` says: which model, which task, what computes it, within which limits."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inlet import __version__
from inlet.runtime.options import Options

if TYPE_CHECKING:
    from inlet.runtime.artifact.gate import Verdict
    from inlet.runtime.artifact.manifest import Manifest
    from inlet.runtime.loader import Loaded
    from inlet.runtime.model import Model

MAX_CLIENT_BATCH = 32
"""Texts in one request in the protocol of text-embeddings-inference, whose clients read it here."""


def name_of(options: Options) -> str:
    """What clients call the model: its repository, or the last part of its folder."""
    path = options.location.removeprefix("file://")
    return Path(path).name if path.startswith("/") else path


def of_any(options: Options, task: str) -> dict[str, Any]:
    """What there is to say of every model. Names follow those in use among embedding servers where they exist."""
    return {
        "model_id": options.location,
        "model_sha": options.commit,
        "served_model_name": name_of(options),
        "task": task,
        "dialect": options.dialect,
        "version": __version__,
    }


def of_encoder(options: Options, loaded: Loaded) -> dict[str, Any]:
    """The same, and what is particular to encoders."""
    from inlet.runtime.batcher import MOST_TOKENS
    from inlet.runtime.buckets import BATCH_SIZES, batch_sizes, buckets
    from inlet.runtime.build.encoder import Head

    model, engine = loaded.model, loaded.choice.engine
    manifest = loaded.choice.manifest
    longest = (model.sentences if model.head is Head.HIDDEN else model.texts).max_length
    sizes = buckets(model.positions)
    return {
        **of_any(options, loaded.task.name),
        "model_type": _kind(model),
        "architecture": model.shape.model_type,
        "model_dtype": "float32",
        "engine": engine.variant.engine,
        "precision": engine.variant.precision,
        "variant": engine.variant.name,
        "reason": loaded.choice.reason,
        "settled": loaded.choice.better is None,
        "artifact": None if manifest is None else _checked(manifest),
        "threads": engine.threads,
        "max_input_length": longest,
        # Of the longest texts: more requests of shorter ones have room. What would wait too long is refused before that.
        "max_concurrent_requests": MOST_TOKENS // longest,
        "max_batch_tokens": max(size * batch_sizes(size)[0] for size in sizes),
        "max_batch_requests": max(BATCH_SIZES),
        "max_client_batch_size": MAX_CLIENT_BATCH,
        "auto_truncate": True,
        "tokenization_workers": engine.threads,
        "sha": None,  # the version says which build it is
        "docker_label": None,
        "pooling": model.pooling.mode if model.pooling.declared else None,
        "labels": list(model.label_names) or None,
        "buckets": sizes,
        "batch_sizes": sorted(BATCH_SIZES),
    }


def _kind(model: Model) -> dict[str, Any] | None:
    """As text-embeddings-inference says it; None for what that has no name for."""
    from inlet.runtime.build.encoder import Head

    if model.head is Head.HIDDEN:
        return {"embedding": {"pooling": model.pooling.mode}}
    if model.head is not Head.SEQUENCE:
        return None
    names = dict(enumerate(model.label_names))
    labels = {
        "id2label": {str(index): name for index, name in names.items()},
        "label2id": {name: index for index, name in names.items()},
    }
    return {"reranker" if len(names) == 1 else "classifier": labels}


def _checked(manifest: Manifest) -> dict[str, Any]:
    """The artifact's name, and every variant that was tried: its speed, the verdicts, and the texts that differ most."""
    return {
        "id": manifest.digest,
        "made_at": manifest.made_at,
        "cpu": manifest.key["cpu"],
        "tried": [
            {
                "variant": item.variant.name,
                "milliseconds": item.milliseconds,
                "passed": item.passed,
                "verdicts": {name: _public(name, verdict) for name, verdict in item.verdicts.items()},
            }
            for item in manifest.tried
        ],
    }


def _public(name: str, verdict: Verdict) -> dict[str, Any]:
    """Without the texts that differ most, if they are somebody's own: whoever may call the model can read this."""
    from inlet.runtime.artifact.manifest import CORPUS

    return asdict(verdict if name == CORPUS else replace(verdict, worst=()))
