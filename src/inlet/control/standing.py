"""Where a control stands among those on its database, for whoever asks: the page `/readyz` and the route `about`.

Answered by `control/several.py`; a control that is alone has the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """`leader` is the URL of the control that leads, None if nobody does or this is the only one there can be.

    `followers` are the URLs of the controls that follow, this one included if it does; `obstacle` says why this control's
    routers cannot serve, if so.
    """

    shared: bool = False
    leads: bool = True
    leader: str | None = None
    followers: tuple[str, ...] = ()
    obstacle: str | None = None
