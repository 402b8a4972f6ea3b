"""Replicas that several tests share: starting one costs most of a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from inlet.runtime.worker import strays
from tests.reference import Reference, reference
from tests.runtime.process import Replica


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the reference before any test's clock runs: the first time it installs torch and trains models."""
    if not session.config.option.collectonly and any(
        "made" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        reference()


@pytest.fixture(scope="session")
def made() -> Reference:
    return reference()


@pytest.fixture(scope="session")
def replica(
    made: Reference, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Replica]]:
    """`replica(model, task)`: a ready one, started at its first use."""
    running: dict[tuple[str, str], Replica] = {}
    with ExitStack() as stack:

        def get(model: str, task: str) -> Replica:
            if (model, task) not in running:
                folder = tmp_path_factory.mktemp("r")
                running[model, task] = stack.enter_context(Replica(folder, made.model(model), task)).ready()
            return running[model, task]

        yield get


@pytest.fixture
def neighbours_spared() -> None:
    """What this very process has started, such as a database, is left alone by a worker that is tested in it."""
    with strays.spared() as spare:
        for child in psutil.Process().children():
            spare(child.pid)
