"""For every suite: property tests have no deadline, since a busy machine is not a failure; a PostgreSQL on demand."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import postgresql as postgresql_server

settings.register_profile("inlet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("inlet")


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[postgresql_server.Server]:
    try:
        with postgresql_server.server() as server:
            yield server
    except postgresql_server.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def postgresql(_postgresql: postgresql_server.Server) -> Iterator[postgresql_server.Server]:
    """The one server of the run; a test may stop it, and its databases go with the test."""
    yield _postgresql
    _postgresql.drop_databases()
