"""Homes, models and client environments for the end-to-end tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inlet.sample import sample_folder

VENVS = Path(__file__).parents[2] / ".venvs"


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
def sample_model() -> Path:
    folder = sample_folder()
    assert folder is not None, "make test installs the sample model"
    return folder


@pytest.fixture(scope="session")
def environment() -> Callable[..., Path]:
    """The interpreter of an environment of its own, made once and kept between runs."""

    def make(name: str, *packages: str) -> Path:
        folder = VENVS / name
        python = folder / "bin" / "python"
        stamp = folder / ".installed"
        if not stamp.exists() or stamp.read_text() != " ".join(packages):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
            stamp.write_text(" ".join(packages))
        return python

    return make
