"""Why a replica ended, in words that a person can act on. Pure; called by `replica.py`."""

from __future__ import annotations

import signal

from inlet.backends.local.records import Ending, ReplicaRecord
from inlet.core.seen import Exit, ExitKind, gigabytes
from inlet.process import EX_CONFIG

_LONGEST_MESSAGE = 2000
_ALLOCATION_FAILURES = ("MemoryError", "std::bad_alloc", "Cannot allocate memory")


def describe(record: ReplicaRecord, ending: Ending | None, keeper_error: str = "") -> Exit:
    """`ending` is None when the keeper died without a word; then `keeper_error` is what it last complained about."""
    if ending is None:
        reason = f": {keeper_error}" if keeper_error else ""
        return Exit(ExitKind.CRASHED, f"The process that keeps the replica was killed{reason}")
    words = _words(ending)
    if ending.asked:
        return Exit(
            ExitKind.STOPPED,
            "Killed when its drain took too long" if ending.overrun else "Stopped",
            ending.code,
        )
    if ending.out_of_memory or (not record.enforced and ending.code != 0 and _allocation_failed(ending)):
        return Exit(
            ExitKind.OUT_OF_MEMORY,
            f"Out of memory: more than the limit of {gigabytes(record.memory)}; choose a larger instance",
            ending.code,
        )
    if ending.code == EX_CONFIG:
        return Exit(ExitKind.CONFIGURATION, words or "The replica refused its configuration", ending.code)
    if ending.signal is not None:
        return Exit(ExitKind.CRASHED, _joined(f"Killed by {_name(ending.signal)}", words))
    if ending.termination:  # its own reason, beside which its code tells nothing
        return Exit(ExitKind.CRASHED, words, ending.code)
    return Exit(ExitKind.CRASHED, _joined(f"Ended with code {ending.code}", words), ending.code)


def _words(ending: Ending) -> str:
    """The replica's own reason, else its last lines; of a long text the end, where the error stands."""
    return (ending.termination or "\n".join(line for line in ending.last_lines if line))[-_LONGEST_MESSAGE:]


def _joined(what: str, words: str) -> str:
    return f"{what}: {words}" if words else what


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _allocation_failed(ending: Ending) -> bool:
    """Without a cgroup a process that wants too much is refused the memory and fails by itself."""
    text = f"{ending.termination}\n" + "\n".join(ending.last_lines)
    return any(words in text for words in _ALLOCATION_FAILURES)
