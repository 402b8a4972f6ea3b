"""Which of several controls leads: the rules of the lease, as pure functions of what one control has seen.

Asked by `control/lead.py`, which does the reading and writing. The lease is a row of the shared database that only a
compare-and-swap changes; its holder renews it, and each renewal raises its beat. Two things keep two from leading at once:

- A holder believes in its lead for `LEADS_FOR_S` from the moment *before* its last renewal that worked.
- Another takes the lease only after it has *watched* the same beat for `TAKES_AFTER_S`, which is longer.

Each measures on a clock of its own that only goes forward, so no skew between machines matters. Whoever did not look
for a while (it was stopped, it was suspended, the database was away) begins to watch anew: what it missed may have been
the holder's renewals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from inlet.store.base import Lease

RENEWS_EVERY_S = 2.0
LOOKS_EVERY_S = 1.0  # while another holds it, or after a call that failed
LEADS_FOR_S = 7.0
TAKES_AFTER_S = 10.0
BLIND_AFTER_S = 5.0  # without a look at the lease

NOBODY = ""
"""Holder of a lease that was given up."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the control called `me` knows. All times in seconds on its own clock.

    `lease` is how it was last seen, None also before the first look; `since` when it was first seen like that, without
    a gap; `looked_at` when it was last seen at all; `until` when the own lead ends.
    """

    me: str
    lease: Lease | None = None
    since: float = -math.inf
    looked_at: float = -math.inf
    until: float = -math.inf

    def leads(self, now: float) -> bool:
        """Whether this control may act at `now`."""
        return now < self.until

    @property
    def holds(self) -> bool:
        """Whether the lease was last seen in this control's hand, be it from before a restart."""
        return self.lease is not None and self.lease.holder == self.me

    def saw(self, lease: Lease | None, now: float) -> Candidate:
        """The lease was read; `now` is after the answer came."""
        watched = lease == self.lease and now - self.looked_at < BLIND_AFTER_S
        seen = replace(self, lease=lease, since=self.since if watched else now, looked_at=now)
        return seen if seen.holds else replace(seen, until=-math.inf)

    def may_put(self, now: float) -> bool:
        """Whether to take or renew the lease as it was last seen."""
        if self.holds or self.lease is None or self.lease.holder == NOBODY:
            return True
        return now - self.since >= TAKES_AFTER_S and now - self.looked_at < BLIND_AFTER_S

    def tried(self, now: float) -> Candidate:
        """The lease is about to be put: if that fails, another's silence may have had the same cause, so watch anew."""
        return replace(self, since=now)

    def put(self, lease: Lease, began: float) -> Candidate:
        """The lease was taken or renewed; `began` is before the call went out."""
        return replace(self, lease=lease, since=began, looked_at=began, until=began + LEADS_FOR_S)
