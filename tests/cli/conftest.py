import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.cli.standin import Api, serving


@pytest.fixture(autouse=True)
def _server_is_silent() -> Iterator[None]:
    """Server and command share this process, and the command's output is what is looked at."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        yield api
