"""What control groups there are, while others make and remove theirs."""

from __future__ import annotations

import os
from pathlib import Path

from inlet.backends.local.site import subtree_name


def subtrees_of(home: Path) -> list[Path]:
    """An installation's subtrees, one per hierarchy; none where there are no control groups or no right to make some."""
    name = subtree_name(home)
    # Not Path.rglob, which stumbles over a group that vanishes.
    return [Path(folder) / name for folder, children, _ in os.walk("/sys/fs/cgroup") if name in children]
