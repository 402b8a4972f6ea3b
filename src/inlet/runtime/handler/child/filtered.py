"""`python -P filtered.py FILTER COMMAND…`: becomes the command, behind a filter of system calls which it cannot shed.

`FILTER` is what `seccomp.program` made, in hexadecimal digits. Nothing of a repository runs before it holds. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(program: bytes) -> None:
    """From now on it holds for this process and all that it starts; `OSError` where the kernel takes none."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(program) // _INSTRUCTION_BYTES, program)
    # The kernel takes a filter only from those who can gain no rights by what it hides from a program that they start.
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no filter of system calls can be installed: {os.strerror(number)}")


if __name__ == "__main__":
    install(bytes.fromhex(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - that is its purpose
