"""Random kills and random changes of an installation, from a seed; and what must be true once it has come to rest.

Used by `test_chaos.py`. A round is one to eight actions with short pauses between them, then rest: every endpoint as it
was last asked for, the right replicas and no other process, answers from all of them, and nothing left over on disk.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.control_groups import subtrees_of

from .installation import Installation, command, contents, is_keeper, is_spare, wait_for

PATIENCE_S = 120.0  # a replica that was killed again and again is started after 30 seconds
PAUSES_S = (0.0, 0.0, 0.02, 0.1, 0.3, 1.0)
GIVES_UP_AFTER = 5  # failed starts in a row, and a replica that is killed before it is ready is one
BUSY = {502, 503, 504}  # what is said while control or a router is being replaced
QUESTION = {"inputs": "How do I get my money back?"}


class Chaos:
    """Three endpoints of `model` in a running installation, which `act` does its worst to."""

    def __init__(self, inlet: Installation, model: Path, *, seed: int) -> None:
        self._inlet, self._model, self._random = inlet, model, random.Random(seed)
        self._wanted: dict[str, int] = {}  # the least number of replicas, by endpoint
        self._kills = 0  # of replicas and keepers, but for those that made an endpoint fail
        self.counts: Counter[str] = Counter()
        self._actions: Mapping[str, Callable[[], None]] = {
            "kill control": lambda: self._kill_child("inlet.control"),
            "kill router": lambda: self._kill_child("inlet.router"),
            "kill a replica": lambda: self._kill_one(self._inlet.replicas()),
            "kill a keeper": lambda: self._kill_one(self._keepers()),
            "kill the parent": self._kill_parent,
            "update": self._update,
            "scale": self._scale,
            "delete and make again": self._replace,
            "pause": lambda: self._post("pause"),
            "resume": lambda: self._post("resume"),
            "scale to zero": lambda: self._post("scale-to-zero"),
        }
        for name, replicas in {"a": 1, "b": 2, "c": 0}.items():
            self._create(name, replicas)

    def round(self) -> None:
        """Some actions in a row."""
        for _ in range(self._random.randint(1, 8)):
            name = self._random.choice([*self._actions])
            self.counts[name] += 1
            self._actions[name]()
            time.sleep(self._random.choice(PAUSES_S))

    # Kills

    def _kill_child(self, module: str) -> None:
        with contextlib.suppress(AssertionError, psutil.NoSuchProcess):  # it is just being replaced
            self._inlet.child(module).kill()

    def _kill_one(self, processes: list[psutil.Process]) -> None:
        if processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._random.choice(processes).kill()
                self._kills += 1

    def _keepers(self) -> list[psutil.Process]:
        return [p for p in self._inlet.processes() if is_keeper(command(p))]

    def _kill_parent(self) -> None:
        self._inlet.kill_parent()
        time.sleep(self._random.random() * 0.3)
        self._inlet.start()

    # Changes

    def _update(self) -> None:
        self._put({"model": {"env": {"X": str(self._random.random())}}})

    def _scale(self) -> None:
        n = self._random.randint(0, 2)
        self._wanted[self._put({"compute": {"scaling": {"minReplica": n, "maxReplica": max(1, n)}}})] = n

    def _replace(self) -> None:
        name = self._any()
        self._call("DELETE", _path(name))
        wait_for(
            f"end of {name}", lambda: self._call("GET", _path(name)).status_code == 404, within=PATIENCE_S
        )
        self._create(name, self._wanted[name])

    def _put(self, body: Mapping[str, Any]) -> str:
        name = self._any()
        self._call("PUT", _path(name), body)
        return name

    def _post(self, verb: str) -> None:
        self._call("POST", f"{_path(self._any())}/{verb}")

    def _any(self) -> str:
        return self._random.choice([*self._wanted])

    def _create(self, name: str, replicas: int) -> None:
        self._wanted[name] = replicas
        body = self._inlet.body(
            name, str(self._model), model__task="feature-extraction",
            compute__scaling__minReplica=replicas, compute__scaling__maxReplica=max(1, replicas),
        )  # fmt: skip
        self._call("POST", "/v2/endpoint/default", body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """As a patient script would: again while parts are being replaced. No other server error is right."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self._inlet.api.request(method, path, json=body)
                if answer.status_code not in BUSY:
                    assert answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
                    return answer
            assert time.monotonic() < deadline, f"{method} {path}: no answer within {PATIENCE_S} s"
            time.sleep(0.1)

    # Rest

    def come_to_rest(self) -> None:
        """Resume what was paused or given up, wait until all is as it was asked for, and look for what is left over."""
        wait_for("/readyz", self._inlet.is_ready, within=PATIENCE_S)
        for name in self._wanted:
            if self._status(name)["state"] == "paused":
                self._call("POST", f"{_path(name)}/resume")
        wait_for(f"rest: {self._wanted}", self._at_rest, within=PATIENCE_S, every=0.2)
        for name in self._wanted:
            answer = self._call("POST", f"/default/{name}", QUESTION)
            assert answer.status_code == 200, f"{name}: {answer.status_code} {answer.text}"
        try:
            wait_for("end of it", lambda: not self._left_over(), within=PATIENCE_S, every=0.2)
        except AssertionError:
            raise AssertionError(f"left over: {self._left_over()}") from None

    def _status(self, name: str) -> dict[str, Any]:
        """As it is; what our kills made fail, as promised, is first resumed."""
        status: dict[str, Any] = self._call("GET", _path(name)).json()["status"]
        if status["state"] == "failed":
            gave_up = status["errorMessage"].startswith("Gave up after")
            assert gave_up, f"{name}: {status}"
            assert self._kills >= GIVES_UP_AFTER, f"{name}, after {self._kills} kills: {status}"
            self._kills -= GIVES_UP_AFTER
            status = self._call("POST", f"{_path(name)}/resume").json()["status"]
        return status

    def _at_rest(self) -> bool:
        ready = 0
        for name, least in self._wanted.items():
            status = self._status(name)
            if status["state"] not in ("running", "scaledToZero"):
                return False
            if status["state"] == "running" and status["readyReplica"] < max(least, 1):
                return False
            ready += status["readyReplica"]
        return ready == len(self._inlet.replicas())

    def _left_over(self) -> list[str]:
        """Processes, sockets and control groups that belong to no replica of now."""
        replicas = [words for p in self._inlet.replicas() if (words := command(p))]
        sockets = {Path(words[words.index("--socket") + 1]).name for words in replicas}
        found = [f"socket {name}" for name in sockets_of(self._inlet.home) - sockets]
        groups = {path.name for path in groups_of(self._inlet.home)}
        if len(groups) > len(replicas):
            found.append(f"control groups {groups}")
        processes = [words for p in self._inlet.processes() if (words := command(p))]
        spares = [words for words in processes if is_spare(words)]
        # Router, control; each replica with its keeper; at most one spare with its own.
        if len(processes) - len(spares) != 2 + 2 * len(replicas) or len(spares) > 2:
            found += [f"process {words}" for words in processes]
        return found


def _path(name: str) -> str:
    return f"/v2/endpoint/default/{name}"


def sockets_of(home: Path) -> set[str]:
    """Names of the replicas' sockets that lie in the installation's folder."""
    return {path.name for path in (home / "run").glob("r-*.sock")}


def left_after_stop(home: Path) -> list[str]:
    """What replicas and backend should have taken away: sockets, records, control groups.

    The sockets of control stay: whoever binds them next replaces them.
    """
    run = {path.name for path in (home / "run").iterdir()} - {"control.lock", "control.sock", "link.sock"}
    records = {path.name for path in (home / "replicas").iterdir()} - {"lock"}
    return [*run, *records, *map(str, groups_of(home))]


def groups_of(home: Path) -> list[Path]:
    """Control groups of the installation's replicas."""
    return [
        group
        for subtree in subtrees_of(home)
        if subtree.is_dir()
        for group in subtree.iterdir()
        if group.is_dir()
    ]


def tracebacks(home: Path) -> list[str]:
    """Files of the installation's logs, replicas' ones too, in which an exception went to the ground."""
    found = [str(log) for log, text in contents(home / "logs") if b"Traceback" in text]
    if "Traceback" in home.with_suffix(".out").read_text(errors="replace"):
        found.append("what the parents printed")
    return found
