"""The filter of system calls: what its program decides on each machine, and that the kernel does so."""

from __future__ import annotations

import errno
import json
import platform
import signal
import struct
import subprocess
import sys

import pytest

from inlet.runtime.handler.bubblewrap import OWN
from inlet.runtime.handler.seccomp import MACHINES, REFUSED, program

ALLOWED = 0x7FFF_0000
I386 = 0x4000_0003
NEW_USER, THREAD = 0x1000_0000, 0x003D_0F00
READS = {"x86_64": 0, "aarch64": 63}


def verdict(machine: str, number: int, argument: int = 0, *, audit: int | None = None) -> int | None:
    """The errno that a call has, None if it is allowed: what the kernel's interpreter of classic BPF would say."""
    made = program(machine)
    assert made is not None
    lines = list(struct.iter_unpack("=HBBI", made))
    seen = struct.pack("=IIQQ", number, MACHINES[machine].audit if audit is None else audit, 0, argument)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", seen, value)
        elif code == 0x06:
            return None if value == ALLOWED else value & 0xFFFF
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
            at += if_true if holds[code] else if_false


@pytest.mark.parametrize("machine", list(MACHINES))
def test_what_is_in_the_table_is_refused_and_the_rest_is_not(machine: str) -> None:
    found = MACHINES[machine]
    refused = {numbers[found.column] for numbers in REFUSED.values()} - {None}
    special = {found.clone, found.socket, 435}
    for number in set(range(600)) - special:
        assert verdict(machine, number, (1 << 64) - 1) == (errno.EPERM if number in refused else None)
    assert verdict(machine, 435) == errno.ENOSYS
    assert verdict(machine, found.clone, NEW_USER | signal.SIGCHLD) == errno.EPERM
    assert verdict(machine, found.clone, THREAD) is None
    outcomes = {family: verdict(machine, found.socket, family) for family in range(46)}
    assert {family for family, outcome in outcomes.items() if outcome is None} == {1, 2, 10, 16}
    assert verdict(machine, 0x4000_0000 + READS[machine]) == errno.EPERM
    for other in (*(each.audit for each in MACHINES.values() if each is not found), I386):
        assert verdict(machine, READS[machine], audit=other) == errno.EPERM


def test_there_is_none_for_machines_whose_numbers_are_not_known() -> None:
    assert program("riscv64") is None


LOOKS = """
import ctypes, json, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)

def call(number):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, [number] + [-1] * 6))
    return ctypes.get_errno()

def after_exec():
    return subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True).returncode

thread = threading.Thread(target=after_exec)
thread.start()
thread.join()
print(json.dumps({name: call(number) for name, number in json.loads(sys.argv[1]).items()}))
"""
INTERRUPT = """
import ctypes, mmap
code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # getpid as a program of 32 bits calls it
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())
"""


def behind_the_filter(*command: str) -> subprocess.CompletedProcess[str]:
    made = program(platform.machine())
    assert made is not None
    words = [sys.executable, "-I", "-S", str(OWN / "filtered.py"), made.hex(), sys.executable, *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="the numbers of its calls are not known")
def test_the_kernel_does_what_the_program_says() -> None:
    column = MACHINES[platform.machine()].column
    numbers = {name: found[column] for name, found in REFUSED.items() if found[column] is not None}
    done = behind_the_filter("-c", LOOKS, json.dumps(numbers))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(numbers, errno.EPERM)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it has no other architecture's calls")
def test_no_call_gets_by_as_another_architecture() -> None:
    done = behind_the_filter("-c", INTERRUPT)
    # Kernels without that other architecture end the program instead.
    assert done.stdout == f"{-errno.EPERM}\n" or done.returncode == -signal.SIGSEGV
