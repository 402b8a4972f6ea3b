"""One log line per class of refused requests: so that overload is visible, and a flood of refusals is not a flood of logs.

Told by `server.py` of every answer that the router gave itself; flushed once a second by `service.py`.
"""

from __future__ import annotations

import structlog

log = structlog.get_logger()

QUIET_S = 10.0


class Refusals:
    """Counts by status for the metrics, and lines by (status, endpoint): the first at once, then one per 10 s."""

    def __init__(self) -> None:
        self.by_status: dict[int, int] = {}
        self._quiet_until: dict[tuple[int, str], float] = {}
        self._unsaid: dict[tuple[int, str], tuple[int, str]] = {}

    def note(self, status: int, endpoint: str, reason: str, request_id: bytes, now: float) -> None:
        """One refused request; `reason` is the sentence that the caller got."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        key = (status, endpoint)
        if key in self._quiet_until:
            self._unsaid[key] = (self._unsaid.get(key, (0, ""))[0] + 1, reason)
            return
        self._quiet_until[key] = now + QUIET_S
        log.warning(
            "refused", status=status, endpoint=endpoint, reason=reason, request_id=request_id.decode("ascii")
        )

    def flush(self, now: float) -> None:
        """Say what was kept quiet for long enough."""
        for key in [key for key, until in self._quiet_until.items() if until <= now]:
            count, reason = self._unsaid.pop(key, (0, ""))
            if not count:
                del self._quiet_until[key]
                continue
            self._quiet_until[key] = now + QUIET_S
            log.warning("refused", status=key[0], endpoint=key[1], reason=reason, times=count)
