"""What an endpoint's owner may say about how its model is computed, as variables of its own. Pure.

Read by the API, which refuses what cannot be, by settings for all endpoints, and by replicas.
"""

from __future__ import annotations

from enum import StrEnum

from inlet.core.errors import Invalid

PRECISION = "INLET_PRECISION"
SAMPLE_TRAFFIC = "INLET_SAMPLE_TRAFFIC"


class Precision(StrEnum):
    """`auto`: the fastest that was checked against fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


def precision_of(text: str, *, field: str = PRECISION) -> Precision:
    """`Invalid` names the ones that there are."""
    try:
        return Precision(text.strip().lower())
    except ValueError:
        raise Invalid(f"{text!r} is none of {', '.join(Precision)}", field=field) from None


def share_of(text: str, *, field: str = SAMPLE_TRAFFIC) -> float:
    """`Invalid` unless it is a number from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Invalid(f"{text!r} is not a share from 0 to 1, like 0.01", field=field)
    return share
