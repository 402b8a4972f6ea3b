"""The API asked by Schemathesis, as its OpenAPI document says and as it does not: no 5xx, and answers as documented.

Boundaries of every field, made-up requests, and sequences of operations that follow each other's answers, valid and
invalid, with the token and without. `make fuzz` does the same for longer. What is switched off is in schemathesis.toml, with its reason.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.served import ADMIN

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXAMPLES = int(
    os.environ.get("INLET_FUZZ_EXAMPLES", "6")
)  # for each operation, beside those at the boundaries
WITHIN_S = 100 + EXAMPLES * 40


@pytest.fixture
def control(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Origin and log of a control of our own."""
    log = tmp_path / "control.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.control.served", str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        assert process.stdout is not None
        try:
            origin = process.stdout.readline().strip()
            assert origin, log.read_text()
            yield origin, log
        finally:
            process.terminate()


@pytest.mark.timeout(WITHIN_S)
def test_the_api_is_as_its_document_says(control: tuple[str, Path], tmp_path: Path):
    origin, log = control
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "st", "--config-file", HERE / "schemathesis.toml", "run"),
            *(f"{origin}/openapi.json", "--header", f"Authorization: Bearer {ADMIN}"),
            *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-shrink", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in log.read_text(), log.read_text()
