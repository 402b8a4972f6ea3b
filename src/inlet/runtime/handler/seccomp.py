"""The filter of system calls for a handler, as a program of the kernel's classic BPF. Pure; called by `sandbox`, installed by `child/filtered`.

What is refused is what no model needs and what kernels are attacked by, or what reaches around the sandbox: other processes'
memory, mounts, namespaces, programs in the kernel, keys, io_uring, and sockets of other kinds than those for streams and names.
Anything else is allowed: a list of what is allowed would break libraries with each new kernel. Hand-made, because the one
binding of libseccomp that needs no compiler has had no release since 2021 and needs that library at run time.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# From 424 on all architectures have the same numbers.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # mounts and roots
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "fanotify_init": (300, 262), "swapon": (167, 224), "swapoff": (168, 225),
    # namespaces
    "unshare": (272, 97), "setns": (308, 268),
    # the kernel itself
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "acct": (163, 89), "syslog": (103, 116), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None),
    # programs, events and faults in it
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "lookup_dcookie": (212, 18),
    # keys
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # a second way to make system calls, which no filter sees
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
"""By the call's name, its numbers on x86_64 and aarch64; None where there is no such call."""

_CLONE_NEW = 0x7E02_0000  # all flags of `clone` that make a namespace
# Its flags lie in memory, where no filter looks; who hears that there is no such call uses `clone`.
_CLONE3 = 435
# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: others need no network to lead out of the sandbox.
_FAMILIES = (1, 2, 10, 16)
_X32 = 0x4000_0000  # from this number on, x86_64's calls with pointers of 32 bits

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets in what the filter sees; both machines are little-endian.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_Instruction = tuple[int, int, int, int]  # code, jumps if true and if false, value


@dataclass(frozen=True, slots=True)
class Machine:
    """`audit`: the architecture as filters see it. `column`: its numbers in the table; `clone` and `socket`: those of two more."""

    audit: int
    column: int
    clone: int
    socket: int


MACHINES = {
    "x86_64": Machine(0xC000_003E, 0, clone=56, socket=41),
    "aarch64": Machine(0xC000_00B7, 1, clone=220, socket=198),
}


def program(machine: str) -> bytes | None:
    """For the machine that `platform.machine()` names, an array of `struct sock_filter`; None where the numbers are not known."""
    found = MACHINES.get(machine)
    return None if found is None else b"".join(struct.pack("=HBBI", *line) for line in _lines(found))


def _lines(machine: Machine) -> Iterator[_Instruction]:
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, machine.audit
    yield _refuse(errno.EPERM)
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _X32
    yield _refuse(errno.EPERM)
    for numbers in REFUSED.values():
        if (number := numbers[machine.column]) is not None:
            yield _EQUAL, 0, 1, number
            yield _refuse(errno.EPERM)
    yield _EQUAL, 0, 1, _CLONE3
    yield _refuse(errno.ENOSYS)
    yield _EQUAL, 0, 4, machine.clone
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _ANY_BIT, 0, 1, _CLONE_NEW
    yield _refuse(errno.EPERM)
    yield _RETURN, 0, 0, _ALLOW
    yield _EQUAL, 0, len(_FAMILIES) + 2, machine.socket
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    for left in range(len(_FAMILIES), 0, -1):
        yield _EQUAL, left, 0, _FAMILIES[-left]
    yield _refuse(errno.EAFNOSUPPORT)
    yield _RETURN, 0, 0, _ALLOW


def _refuse(number: int) -> _Instruction:
    return _RETURN, 0, 0, _ERRNO | number
