"""The first process in a box: gives up what is left to give up, starts the command, and ends with it.

`python -I -S inside.py BOUNDS CALLS COMMAND...`, run as a file: it imports nothing of ours, and nothing of
what is tested. BOUNDS is JSON: the user to become (null: stay), bytes of memory of a process, processes and
threads of the box, bytes of a file. CALLS is the filter of system calls, in base64.

A user namespace is what makes the limit of processes one of the box: the kernel counts them by user and
namespace. Root could not change the user in one of bubblewrap's, so its is made here, after the change.

It is in a session of its own. Only so does the kernel do in here what it does outside when the parent of
stopped processes dies: it wakes them with a SIGHUP. bubblewrap's own first process shares the command's.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import sys

CLONE_NEWUSER = 0x10000000
SIGNALLED = 128
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 4, 22, 38, 2


def main(bounds: dict[str, int | None], calls: str, argv: list[str]) -> None:
    """Run the command, confined for good, and end as a shell would tell its end."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.closerange(3, 1024)
    _call(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if not (command := os.fork()):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _confine(bounds, libc)
        _filter(base64.b64decode(calls), libc)
        os.execvp(argv[0], argv)  # noqa: S606  # an argument list
    # Not as another user: the kernel would forget that this process is to end with its parent.
    os.setsid()
    _call(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    _filter(base64.b64decode(calls), libc)
    os._exit(_end_of(command))  # and with this process ends all that is left in the box


def _end_of(command: int) -> int:
    while (ended := os.wait())[0] != command:
        pass  # its parent had died
    code = os.waitstatus_to_exitcode(ended[1])
    return code if code >= 0 else SIGNALLED - code


def _confine(bounds: dict[str, int | None], libc: ctypes.CDLL) -> None:
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


def _become(user: int, libc: ctypes.CDLL) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _call(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # else the files in /proc/self stay root's
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
