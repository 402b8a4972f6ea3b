"""Draws docs/images/up.svg: what a terminal showed, from a recording of everything that was written to it.

    python docs/measure.py clone --record up.typescript      # or: script -qefc "make up" up.typescript
    python docs/picture.py up.typescript docs/images/up.svg

Only the token is replaced. Lines that were drawn over (the counter of packages, the spinner) show their last state, as
on the screen.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

WIDTH = 112
_TOKEN = re.compile(r"inl_[A-Za-z0-9_-]{20,}")
_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+|\x1b")


def screen(recording: str) -> list[str]:
    """The lines that stood on the screen at the end, with their colours as escape sequences."""
    lines, row, fresh = (
        [""],
        0,
        False,
    )  # fresh: the cursor is at the line's beginning, and what comes replaces it
    for piece in _PIECE.finditer(recording):
        text, argument, command = piece[0], piece[1], piece[2]
        if text == "\n":
            row += 1
            fresh = False
            if row == len(lines):
                lines.append("")
        elif text == "\r":
            fresh = True
        elif command == "A":
            row = max(0, row - int(argument or 1))
        elif command == "K":
            lines[row], fresh = "", False
        elif command == "m" or (command is None and text != "\x1b"):
            lines[row], fresh = text if fresh else lines[row] + text, False
    return lines


def draw(lines: list[str], title: str) -> str:
    """An SVG of a terminal that shows `lines`; refers to nothing outside itself."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), overflow="fold")
    format_ = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=title, code_format=format_, unique_id="up")


def main() -> None:
    """Read the recording, write the picture."""
    source, target = map(Path, sys.argv[1:3])
    recording = _TOKEN.sub("inl_…", source.read_bytes().decode(errors="replace"))
    lines = screen(recording)
    while lines and not re.sub(r"\x1b\[[0-9;?]*m", "", lines[-1]).strip():
        lines.pop()
    target.write_text(draw(lines, "make up"))


if __name__ == "__main__":
    main()
