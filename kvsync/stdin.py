"""Standard input as a lifeline: a pipe whose other end is held by the process that started this one.

When that process ends, however it ends, the pipe is closed; one that must not outlive it watches for that.

It is read by its number, not as `sys.stdin`: a thread blocked in `sys.stdin.buffer` holds a lock that the
interpreter needs at its end, which then aborts the process (`_enter_buffered_busy`, exit code -6).
"""

import os
import select
import threading
from collections.abc import Callable


def has_ended(within_s: float | None = None) -> bool:
    """Wait for the end of standard input, at most `within_s` seconds or until something is read from it."""
    try:
        readable, _, _ = select.select([0], [], [], within_s)
        return bool(readable) and not os.read(0, 4096)
    except OSError:  # it was closed before this process began
        return True


def on_end(act: Callable[[], object]) -> None:
    """Call `act` from another thread when standard input ends; the thread does not keep the process alive."""

    def wait() -> None:
        while not has_ended():
            pass
        act()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def first_line() -> bytes:
    """Read the first line of standard input, and nothing of what follows it."""
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return bytes(line)
