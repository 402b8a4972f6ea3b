"""What `GET /info` says: which model, which task, what computes it, within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inlet import __version__
from inlet.runtime.options import Options

if TYPE_CHECKING:
    from inlet.runtime.loader import Loaded


def describe(options: Options, loaded: Loaded) -> dict[str, Any]:
    """Names follow those in use among embedding servers (`model_id`, `model_sha`, `max_input_length`) where they exist."""
    from inlet.runtime.buckets import BATCH_SIZES, buckets

    model = loaded.model
    return {
        "model_id": options.location,
        "model_sha": options.commit,
        "model_type": model.shape.family.prefix.rstrip("."),
        "model_dtype": "float32",
        "task": loaded.task.name,
        "dialect": options.dialect,
        "engine": model.engine.variant.engine,
        "precision": model.engine.variant.precision,
        "threads": model.engine.threads,
        "max_input_length": model.texts.max_length,
        "pooling": model.pooling.mode if model.pooling.declared else None,
        "labels": list(model.label_names) or None,
        "buckets": buckets(model.positions),
        "batch_sizes": sorted(BATCH_SIZES),
        "version": __version__,
    }
