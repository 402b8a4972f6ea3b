"""The parts of one router, handed to every connection; built once by `service.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from inlet.router.balance import Balance
from inlet.router.gate import Gate
from inlet.router.local import Local
from inlet.router.refusals import Refusals
from inlet.router.table import Table
from inlet.router.upstream import Peer
from inlet.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """`scheme` is that of the public URL, for X-Forwarded-Proto; `control` is the peer that serves the public API."""

    settings: Settings
    loop: asyncio.AbstractEventLoop
    table: Table
    balance: Balance
    gate: Gate
    refusals: Refusals
    local: Local
    control: Peer
    scheme: bytes
