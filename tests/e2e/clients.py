"""The official clients: what is installed for each, what tells it our address, and how one is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.docs import pages

PAGE = pages.ROOT / "docs" / "how-to" / "clients.md"
# Versions before 1 bring neither numpy nor aiohttp, and need them for vectors and for the asynchronous client.
HUB: dict[str, tuple[str, ...]] = {
    "2.4.0": ("huggingface_hub==2.4.0",),
    "1.33.0": ("huggingface_hub==1.33.0",),
    "0.36.0": ("huggingface_hub==0.36.0", "numpy", "aiohttp"),
    "0.23.5": ("huggingface_hub==0.23.5", "numpy", "aiohttp"),
}
HUGIE = ("hugie==0.4.0", "click<8.2")


def told_address(folder: Path, heading: str) -> Path:
    """A folder for PYTHONPATH with the file that the page for users shows below `heading`."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        section.split("```python title=sitecustomize.py\n")[1].split("```")[0]
    )
    return folder


def run(*command: str, env: dict[str, str], within: float = 120.0) -> subprocess.CompletedProcess[str]:
    """`command` with `env` and without any variable of ours or of the clients that happens to be set here."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("INLET_", "HF_", "HUGGINGFACE_"))}
    return subprocess.run(
        command, env=clean | env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=within, check=False,
    )  # fmt: skip
