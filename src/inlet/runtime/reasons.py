"""Reasons that leave the replica, for `/info` and the termination log: callers read them, and need not know this machine.

Called by `serve`. The log keeps the paths: it is for whoever runs the endpoint.
"""

from __future__ import annotations

from inlet.runtime.options import Options


def without_folders(reason: str, options: Options) -> str:
    """The reason with `…` in place of the server's own folders; what lies below them is still named."""
    for folder in (options.artifacts, options.cache):
        if folder is not None:
            reason = reason.replace(str(folder), "…")
    return reason
