"""The link between control and router: the two messages, and where they go.

`GET {ROUTES_PATH}?after=VERSION` answers a route table as soon as its version differs from VERSION (long poll; 204 when
nothing changed within the wait). `POST {SIGNALS_PATH}` carries one router's signals; 204. Served by
`control/link.py` on a 0600 Unix socket of its own that the router never proxies; read by `router/table.py`.
"""

from __future__ import annotations

from pydantic import TypeAdapter

from inlet.core.routes import RouteTable, Signals

ROUTES_PATH = "/link/routes"
SIGNALS_PATH = "/link/signals"
STOP_PATH = "/link/stop"  # POST: drain and stop every replica, then end control (the parent's Ctrl-C)
LONG_POLL_S = 25.0

_TABLE: TypeAdapter[RouteTable] = TypeAdapter(RouteTable)
_SIGNALS: TypeAdapter[Signals] = TypeAdapter(Signals)


def dump_table(table: RouteTable) -> bytes:
    """The JSON of a route table."""
    return _TABLE.dump_json(table)


def load_table(data: bytes) -> RouteTable:
    """A route table from its JSON; pydantic's ValidationError if it is not one."""
    return _TABLE.validate_json(data)


def dump_signals(signals: Signals) -> bytes:
    """The JSON of one router's report."""
    return _SIGNALS.dump_json(signals)


def load_signals(data: bytes) -> Signals:
    """One router's report from its JSON; pydantic's ValidationError if it is not one."""
    return _SIGNALS.validate_json(data)
