"""Control groups of version 2, which the machine at hand may lack: the tests of the local backend, in a kernel that has them."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import uml

WITHIN_S = 1100.0  # about 70 s on two idle cores; its kernel runs in one busy process


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("names", "skipped"),
    [
        (("delegation", "limits"), ["test_neighbours_get_different_cpus"]),  # the small machine has one CPU
        (("adoption",), []),
    ],
)
def test_the_local_backend_on_cgroup_v2(tmp_path: Path, names: tuple[str, ...], skipped: list[str]) -> None:
    files = [f"tests/backends/test_{name}.py" for name in names]
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "240", "--basetemp", "/run/pytest",
        "--junitxml", "/mnt/report.xml", *files,
    ]  # fmt: skip
    done = uml.run(command, tmp_path, within=WITHIN_S)
    print(done.output)
    assert done.status == 0, f"{done.output[-8000:]}\n{done.console[-2000:]}"
    cases = list(ET.parse(tmp_path / "report.xml").getroot().iter("testcase"))
    assert len(cases) >= 10 * len(files)
    assert [case.get("name") for case in cases if case.find("skipped") is not None] == skipped
