"""Which replica gets a request: the one with fewer outstanding of two drawn by chance.

Asked by `forward.py`. Owns the peers of each endpoint and replaces them with the route table. A peer that drains is
chosen only if there is no other; one that could not be reached is left alone for a short while, and then tried by one
request before all others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from inlet.router.table import Index
from inlet.router.upstream import Peer


class Balance:
    """The peers of every endpoint in the route table."""

    def __init__(self) -> None:
        self._peers: dict[str, list[Peer]] = {}

    def replace(self, index: Index) -> None:
        """Follow a new table. A replica that stays keeps its connections and marks; one that left is retired."""
        known = {(peer.id, peer.address): peer for peer in self.all()}
        self._peers = {
            route.endpoint_id: [
                known.pop((upstream.replica_id, upstream.address))
                if (upstream.replica_id, upstream.address) in known
                else Peer(upstream.replica_id, upstream.address)
                for upstream in route.upstreams
            ]
            for route in index.by_id.values()
        }
        for peer in known.values():
            peer.retire()

    def all(self) -> Iterable[Peer]:
        """Every peer there is."""
        return (peer for peers in self._peers.values() for peer in peers)

    def choose(self, endpoint_id: str, now: float, *, other_than: Peer | None = None) -> Peer | None:
        """A peer to send to, or None when none can be reached; `other_than` is taken only if it is the last one.

        Whoever is given a peer that was resting is the one who tries it: the rest begins anew for all others.
        """
        peers = self._peers.get(endpoint_id)
        if not peers:
            return None
        if len(peers) == 1 and not peers[0].resting_until:
            return peers[0]
        usable = [peer for peer in peers if peer.resting_until <= now]
        usable = [peer for peer in usable if peer is not other_than] or usable
        usable = [peer for peer in usable if not peer.draining] or usable
        if not usable:
            return None
        drawn = usable if len(usable) <= 2 else random.sample(usable, 2)
        # With two left, chance decides between equals, or the first in the table would always win.
        best = min(drawn, key=lambda peer: (peer.outstanding, random.random()))  # noqa: S311 - not a secret
        if best.resting_until:
            best.rest(now)
        return best

    def next_try(self, endpoint_id: str) -> float | None:
        """When the first resting peer may be tried again, on the loop's clock; None when there is no peer."""
        return min((peer.resting_until for peer in self._peers.get(endpoint_id, ())), default=None)
