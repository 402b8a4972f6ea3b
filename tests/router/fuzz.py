"""A coverage-guided search for bytes that our parsers and others read differently: `make fuzz`.

Runs one process of libFuzzer (by way of atheris, which is not needed by anything else) for each target of `oracles.py`,
begins with the stored inputs in `corpus/`, and keeps what it learns in `.cache/fuzz/`. With `--keep` inputs that take
a new way through our code are added to `corpus/`, which `test_fuzz.py` replays in every test run.
What breaks a rule is printed as a line for the corpus; its test then fails until it is mended.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any

TraceFunction = Callable[[FrameType, str, Any], Any]
HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CACHE = HERE.parent.parent / ".cache" / "fuzz"
TARGETS = {"requests": "check_request", "answers": "check_answer", "chunks": "check_chunks"}
LONGEST = 600  # bytes; the limits on size have tests of their own
WORDS = [
    "GET ", "POST ", "HTTP/1.1", "HTTP/1.0", " /", "http://a", "\r\n", "\r\n\r\n", "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked",
    "Connection: ", "close", "keep-alive", "Upgrade: h2c", "Expect: 100-continue", "Authorization: Bearer a", "X-Request-Id: a", "Cookie: a=b", "X-Inlet-Draining: 1",
    "%2e", "%2f", "%5c", "%00", "..", ";a=b", "HTTP/1.1 200 OK", "HTTP/1.1 100 ", "HTTP/1.1 204 ", "HTTP/1.1 101 ", "0\r\n\r\n",
]  # fmt: skip


def stored(target: str) -> list[bytes]:
    """The inputs of a target's file in `corpus/`: one Python literal a line."""
    return [ast.literal_eval(line) for line in (CORPUS / f"{target}.txt").read_text().splitlines()]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="for each target (default 15)")
    parser.add_argument(
        "--keep", action="store_true", help="write what was learned back to the stored corpus"
    )
    parser.add_argument("--only", choices=TARGETS, help="one target (default: all of them)")
    options = parser.parse_args()
    targets = [options.only] if options.only else list(TARGETS)
    broken = [target for target in targets if not _search(target, options.minutes)]
    if options.keep:
        for target in targets:
            _keep(target)
    sys.exit(f"rules were broken in: {', '.join(broken)}" if broken else 0)


def _search(target: str, minutes: float) -> bool:
    """Fuzz one target; whether every rule held."""
    learned, crashes = CACHE / target, CACHE / f"{target}-broken"
    _unpack(target, learned)
    crashes.mkdir(exist_ok=True)
    for path in crashes.iterdir():
        path.unlink()
    words = CACHE / "words"
    words.write_text("".join('"' + "".join(f"\\x{ord(c):02x}" for c in word) + '"\n' for word in WORDS))
    print(f"== {target}: {minutes:g} minutes", flush=True)
    done = _fuzzer(
        target,
        f"-max_total_time={round(minutes * 60)}", f"-max_len={LONGEST}", f"-dict={words}",
        f"-artifact_prefix={crashes}/", "-timeout=10", "-print_final_stats=1", "-verbosity=0", str(learned),
    )  # fmt: skip
    for path in crashes.iterdir():
        print(f"broken by: {path.read_bytes()!r}")
    return done.returncode == 0


def _keep(target: str) -> None:
    """Add to the stored corpus what was learned and takes a way through our code that nothing stored takes."""
    lines = [repr(data) for data in stored(target)]
    taken = {step for data in stored(target) for step in _way(target, data)}
    for data in sorted((path.read_bytes() for path in (CACHE / target).iterdir()), key=lambda d: (len(d), d)):
        way = _way(target, data)
        if way - taken:
            taken |= way
            lines.append(repr(data))
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))


def _way(target: str, data: bytes) -> set[tuple[str, int, int]]:
    """Each step from line to line that the router's modules take with this input."""
    steps: set[tuple[str, int, int]] = set()

    def enter(frame: FrameType, _event: str, _argument: object) -> TraceFunction | None:
        name = frame.f_code.co_filename
        if "inlet/router" not in name:
            return None
        last = 0

        def step(frame: FrameType, event: str, _argument: object) -> TraceFunction:
            nonlocal last
            if event == "line":
                steps.add((name, last, last := frame.f_lineno))
            return step

        return step

    sys.settrace(enter)
    try:
        check_of(target)(data)
    finally:
        sys.settrace(None)
    return steps


def check_of(target: str) -> Callable[[bytes], bool]:
    """What holds an input of this target against the others; whether we took it."""
    from tests.router import oracles

    check: Callable[[bytes], bool] = getattr(oracles, TARGETS[target])
    return check


def _unpack(target: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in stored(target):
        (folder / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def _fuzzer(target: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "INLET_FUZZ_TARGET": target}
    return subprocess.run(
        [sys.executable, "-m", "tests.router.fuzz", *arguments], env=environment, check=False
    )


def _become_fuzzer(target: str) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("This needs atheris: pip install -e '.[fuzz]'")
    with atheris.instrument_imports(include=["inlet.router", "h11"], enable_loader_override=False):
        check = check_of(target)

    def once(data: bytes) -> None:
        check(data)

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    if "INLET_FUZZ_TARGET" in os.environ:
        _become_fuzzer(os.environ["INLET_FUZZ_TARGET"])
    else:
        main()
