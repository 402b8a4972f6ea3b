"""A share of real requests' texts, kept for later checks of variants, if the endpoint's owner asked for it.

`INLET_SAMPLE_TRAFFIC=0.01` on an endpoint keeps the texts of one request in a hundred until there are `MAX_SAMPLES`, in a
file that only the server's user can read, one for all replicas of the model. Written by `app`, read by `make`: the next
artifact of the same model and task is judged by them too. Never leaves the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from io import FileIO
from pathlib import Path

from inlet.runtime.artifact.corpus import MAX_SAMPLES
from inlet.runtime.artifact.gate import MIN_TEXTS
from inlet.runtime.texts import Text

_MAX_CHARACTERS = 5_000  # of one text: more than most models read
_log = logging.getLogger(__name__)


def traffic_file(artifacts: Path, location: str, task: str) -> Path:
    """Where the texts for that model (any revision of it) and task are."""
    name = hashlib.sha256(json.dumps([location, task]).encode()).hexdigest()
    return artifacts / "traffic" / f"{name}.jsonl"


class Recorder:
    """Appends to one file, shared by all replicas of the model; `share` of the requests, as long as there is room in it."""

    def __init__(self, path: Path, share: float) -> None:
        self._path, self._share = path, share
        self._read = self._lines = 0  # how far the file was looked at, and how many lines are before that
        self._open = True

    def see(self, texts: Sequence[Text]) -> None:
        """Keep these texts, or not, by chance. Never raises and never waits: nothing depends on it."""
        if not self._open or random.random() >= self._share:  # noqa: S311 - a sample, no secret
            return
        kept = [text for text in texts if len(text.text) + len(text.pair or "") <= _MAX_CHARACTERS]
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._append(file, kept)
        except BlockingIOError:  # another replica writes at this moment: the next request is as good
            return
        except OSError as error:
            _log.warning("no more texts are kept: %s", error.strerror)
            self._open = False

    def _append(self, file: FileIO, texts: Sequence[Text]) -> None:
        """As many as there is room for, after all that other replicas wrote; each has a line."""
        if os.fstat(file.fileno()).st_size < self._read:  # removed meanwhile, and begun again
            self._read = self._lines = 0
        file.seek(self._read)
        others = file.read()
        self._lines += others.count(b"\n")
        room = max(0, MAX_SAMPLES - self._lines)
        lines = [json.dumps({"inputs": _inputs(text)}) + "\n" for text in texts[:room]]
        file.write("".join(lines).encode())
        self._read, self._lines = file.tell(), self._lines + len(lines)
        self._open = self._lines < MAX_SAMPLES


def recorded(path: Path) -> list[Text]:
    """The newest texts in the file, oldest first; none when they are too few to judge by."""
    try:
        lines = path.read_bytes().splitlines()[-MAX_SAMPLES:]
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines):
        with contextlib.suppress(ValueError):  # a process was killed while it wrote
            inputs = json.loads(line)["inputs"]
            pair = isinstance(inputs, dict)
            text = Text(inputs["text"], "", inputs["text_pair"]) if pair else Text(inputs, "")
            found.append(replace(text, field=f"traffic[{number}]"))
    return found if len(found) >= MIN_TEXTS else []


def _inputs(text: Text) -> str | dict[str, str]:
    return text.text if text.pair is None else {"text": text.text, "text_pair": text.pair}
