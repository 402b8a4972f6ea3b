"""Inlet: self-hosted inference endpoints.

The packages, top to bottom (imports point down only; `pyproject.toml` enforces it):
`cli` → `control`, `router`, `runtime`, `client` → `store`, `backends` → `wire` → `settings`, `telemetry` → `core`.
`docs/design/` tells the story of a request and of a state change, file by file.
"""

__version__ = "0.1.0"
