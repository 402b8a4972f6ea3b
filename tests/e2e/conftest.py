"""Homes, models and installations for the end-to-end tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inlet.sample import sample_folder

from .installation import Installation, installation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path: Unix sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="inlet-") as folder:
        yield Path(folder) / "home"


@pytest.fixture(scope="session")
def one_installation() -> Iterator[Installation]:
    """One for all tests that ask no more of it than to run; each deletes the endpoints that it makes."""
    with (
        tempfile.TemporaryDirectory(prefix="inlet-") as folder,
        installation(Path(folder) / "home") as running,
    ):
        yield running


@pytest.fixture(scope="session")
def sample_model() -> Path:
    folder = sample_folder()
    assert folder is not None, "make test installs the sample model"
    return folder
