"""Which system calls a box refuses, as a program for the kernel's seccomp filter. Pure.

The list is of what the kernel keeps for everybody at once (keys, modules, clocks, handles of files), of what
reaches into other processes, of what makes namespaces and mounts, and of what has a history of holes. What
takes memory that belongs to no process (SysV segments, memfd) is refused, too: no limit of a process counts
it. Programs live without all of it; glibc falls back from clone3 to clone, whose flags a filter can see.
"""

import errno
import struct

NUMBERS = {
    # name: (x86_64, aarch64)
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "personality": (135, 92),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}

CLONE3 = 435
CLONE = (56, 220)
SOCKET = (41, 198)

NEW_NAMESPACES = 0x7E020080
"""The flags of clone that make a namespace of any kind."""

FAMILIES = (1, 2, 10, 16)
"""Of sockets: UNIX, INET, INET6 and NETLINK. Others, such as VSOCK, belong to no network namespace."""

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of each machine above, and its name in audits."""

X32 = 0x40000000
"""Numbers from here on are x86_64's other way of calling, which a list of numbers would not cover."""

ALLOW, KILL, REFUSE, UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

LOAD, EQUAL, AT_LEAST, ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16
"""Offsets in what the filter is given."""


def program(machine: str) -> bytes:
    """Return the filter for a machine as `uname` names it; ValueError for one whose numbers are not here."""
    if machine not in MACHINES:
        raise ValueError(f"no list of system calls for {machine}, only for {', '.join(MACHINES)}")
    column, audited = MACHINES[machine]
    lines = [
        _line(LOAD, ARCHITECTURE),
        _line(EQUAL, audited, no=0, yes=1),
        _line(ANSWER, KILL),
        _line(LOAD, NUMBER),
        *_if(AT_LEAST, X32, REFUSE),
        *_if(EQUAL, CLONE3, UNKNOWN),
    ]
    for numbers in NUMBERS.values():
        lines += _if(EQUAL, numbers[column], REFUSE)
    lines += [
        _line(EQUAL, CLONE[column], no=4),
        _line(LOAD, ARGUMENT),
        *_if(ANY_BIT, NEW_NAMESPACES, REFUSE),
        _line(ANSWER, ALLOW),
        _line(EQUAL, SOCKET[column], no=2 + 2 * len(FAMILIES)),
        _line(LOAD, ARGUMENT),
        *(line for family in FAMILIES for line in _if(EQUAL, family, ALLOW)),
        _line(ANSWER, REFUSE),
        _line(ANSWER, ALLOW),
    ]
    return b"".join(lines)


def _if(test: int, value: int, answer: int) -> list[bytes]:
    return [_line(test, value, no=1), _line(ANSWER, answer)]


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one instruction: `yes` and `no` are how many lines a test skips."""
    return struct.pack("HBBI", code, yes, no, value)
