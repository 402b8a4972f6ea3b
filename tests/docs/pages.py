"""Reads the project's Markdown: fences, links, headings, code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
_NOT_RUN = re.compile(r"<!-- not run: .+ -->")


@dataclass(frozen=True)
class Fence:
    """One code block. `info` are the words behind the backticks; `run` is False when a comment says why not."""

    language: str
    info: str
    text: str
    line: int
    run: bool

    @property
    def title(self) -> str | None:
        """The file that it is the content of."""
        found = re.search(r"\btitle=(\S+)", self.info)
        return found[1] if found else None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path) -> list[Fence]:
    found: list[Fence] = []
    inside: list[str] | None = None
    info, begun, before = "", 0, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                inside, info, begun = [], line[3:].strip(), number
            else:
                language = info.split(" ")[0]
                found.append(
                    Fence(language, info, "\n".join(inside) + "\n", begun, not _NOT_RUN.match(before))
                )
                inside = None
                before = ""
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            before = line
    assert inside is None, f"{name(page)}: a fence is never closed"
    return found


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> list[str]:
    """Every line that is code: in blocks (not comments of a shell) and in backticks."""
    lines = [
        line.split("  #")[0].removeprefix("$ ") for fence in fences(page) for line in fence.text.splitlines()
    ]
    spans = [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose(page))]
    return [line for line in lines if not line.startswith("#")] + spans


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`]*`", "code", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
