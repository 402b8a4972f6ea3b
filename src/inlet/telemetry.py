"""Logging set-up, shared by every process: structlog to standard error, as JSON lines or for a terminal.

Called once by each process's entry point. Must never be handed a token, a secret or a request body, and never stops who
logs: lines for which the disk has no room are lost, and counted in their place once there is room again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TextIO, cast

import structlog


class LossyStream:
    """Standard error, or another descriptor, as a text stream that never fails."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0

    def write(self, text: str) -> None:
        """The whole text or nothing, but for the part that may have had room."""
        told = ""
        if self._lost:
            told = json.dumps({"event": "log_lines_lost", "lines": self._lost, "level": "warning"}) + "\n"
        data = (told + text).encode(errors="replace")
        try:
            lost = os.write(self._descriptor, data) < len(data)
        except OSError:
            lost = True
        self._lost = self._lost + 1 if lost else 0

    def flush(self) -> None:
        """There is nothing to flush."""


def configure(*, process: str, level: str, format_: str) -> None:
    """Set up structlog and the standard library's logging; `process` is bound to every line."""
    console = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    stream = cast("TextIO", LossyStream(sys.stderr.fileno()))  # all that a logger calls of one
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(number, logging.WARNING), stream=stream, format="%(name)s: %(message)s")
