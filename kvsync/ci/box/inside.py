"""The first program in a box: gives up what is left to give up, and becomes the command.

`python -I -S inside.py BOUNDS CALLS COMMAND...`, run as a file: it imports nothing of ours, and nothing of
what is tested. BOUNDS is JSON: the user to become (null: stay), bytes of memory of a process, processes and
threads of the box, bytes of a file. CALLS is the filter of system calls, in base64.

A user namespace is what makes the limit of processes one of the box: the kernel counts them by user and
namespace. Root could not change the user in one of bubblewrap's, so its is made here, after the change.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def main(bounds: dict[str, int | None], calls: str, argv: list[str]) -> None:
    """Become the command, confined for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.closerange(3, 1024)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if (user := bounds["user"]) is not None:
        _become(user, libc)
    for name, value in (
        (resource.RLIMIT_DATA, bounds["memory"]),
        (resource.RLIMIT_NPROC, bounds["processes"]),
        (resource.RLIMIT_FSIZE, bounds["file"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        assert value is not None
        resource.setrlimit(name, (value, value))
    _call(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _filter(base64.b64decode(calls), libc)
    os.execvp(argv[0], argv)  # noqa: S606  # an argument list


def _become(user: int, libc: ctypes.CDLL) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _call(libc.prctl(4, 1, 0, 0, 0))  # PR_SET_DUMPABLE: else the files in /proc/self stay root's
    _call(libc.unshare(CLONE_NEWUSER))
    for file, text in (
        ("setgroups", "deny"),
        ("gid_map", f"{user} {user} 1"),
        ("uid_map", f"{user} {user} 1"),
    ):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as opened:  # noqa: PTH123  # no pathlib for speed
            opened.write(text)


def _filter(program: bytes, libc: ctypes.CDLL) -> None:
    """Let the kernel refuse system calls from now on."""

    class Program(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    filled = Program(len(program) // 8, program)
    _call(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filled), 0, 0))


def _call(answer: int) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:])
