"""Whether a repository has a handler: pure, from the names of its files. Called by `sources`, `loader` and `opening`."""

from __future__ import annotations

from collections.abc import Collection

CLASSES = {"handler.py": "EndpointHandler", "pipeline.py": "PreTrainedPipeline"}
"""Files that may hold a handler, the present name first, each with the class that it must have."""

REQUIREMENTS = "requirements.txt"
TASK = "custom"


def handler_file(names: Collection[str]) -> str | None:
    """Its name, None if there is none."""
    return next((name for name in CLASSES if name in names), None)
