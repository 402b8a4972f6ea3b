"""The warm-up call of a scikit-learn model, which also shows whether it works with this version of scikit-learn at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from inlet.core.errors import Invalid, Refused

if TYPE_CHECKING:
    from inlet.runtime.sklearn.opening import Opened

_log = logging.getLogger(__name__)


def warm(call: Callable[[], object], opened: Opened) -> None:
    """Call it. That it cannot take our values says nothing; whatever else it raises every request would meet: `Refused`."""
    try:
        call()
    except Invalid as error:
        _log.info("no warm-up, for want of values that the model takes: %s", error)
    except MemoryError:
        raise
    except Exception as error:
        hint = f"; {opened.versions.mismatch}" if opened.versions.mismatch else ""
        raise Refused(
            f"the model was loaded and cannot predict: {type(error).__name__}: {error}{hint}", field="model"
        ) from error
