"""The import of openvino, made lighter; the other modules of this package take it from here."""

from __future__ import annotations

import sys

# openvino imports its model converter, and telemetry with it, if it is there. Neither is of use here, and they are a
# third of the import's time: an entry of None makes that (guarded) import fail.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # None is what Python documents for this

import openvino as ov  # noqa: E402
from openvino import opset15 as op  # noqa: E402

__all__ = ["op", "ov"]
