"""Control groups of version 2, which the machine at hand may lack: the tests of the local backend, in kernels that have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import uml

WITHIN_S = 1100.0  # about 90 s on two idle cores, all together
# What each small machine runs, and what is skipped there: it has one CPU.
RUNS = {
    ("delegation", "limits"): ["test_neighbours_get_different_cpus"],
    ("adoption",): [],
}
Machines = dict[Sequence[str], tuple[Path, Future[uml.Done]]]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """All at once, since each keeps one processor busy: the folder that it leaves files in, and how it ended."""
    with ThreadPoolExecutor(len(RUNS)) as pool:
        started: Machines = {}
        for names in RUNS:
            folder = tmp_path_factory.mktemp("-".join(names))
            started[names] = folder, pool.submit(uml.run, command(names), folder, within=WITHIN_S)
        yield started


def command(names: Sequence[str]) -> list[str]:
    """The tests of these names, with a report."""
    files = [f"tests/backends/test_{name}.py" for name in names]
    return [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "240", "--basetemp", "/run/pytest",
        "--junitxml", "/mnt/report.xml", *files,
    ]  # fmt: skip


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("names", RUNS, ids="-".join)
def test_the_local_backend_on_cgroup_v2(names: Sequence[str], machines: Machines) -> None:
    folder, running = machines[names]
    done = running.result()
    print(done.output)
    assert done.status == 0, f"{done.output[-8000:]}\n{done.console[-2000:]}"
    cases = list(ET.parse(folder / "report.xml").getroot().iter("testcase"))
    assert len(cases) >= 10 * len(names)
    assert [case.get("name") for case in cases if case.find("skipped") is not None] == RUNS[names]
