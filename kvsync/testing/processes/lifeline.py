"""Runs a program that ends with its standard input: `python -m kvsync.testing.processes.lifeline PROGRAM`.

For programs that know nothing of `--exit-with-stdin`: the input is a pipe that the process that started us
holds, so the program ends when that process does, however it ends.
"""

import signal
import subprocess
import sys
import threading
from queue import SimpleQueue

from kvsync import stdin

LIFELINE = (sys.executable, "-m", "kvsync.testing.processes.lifeline")
"""The beginning of a command that ends with its input; the program and its arguments follow."""


def main(argv: list[str]) -> int:
    """Run `argv` until it ends or our input does; returns its exit status as a shell says it."""
    told: SimpleQueue[None] = SimpleQueue()
    # Before there is a program, so that no signal ends us and leaves it behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.put(None))
    try:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    except OSError as exc:
        print(f"cannot start {argv[0]}: {exc}; install it", file=sys.stderr)
        return 127

    def end() -> None:
        while True:
            told.get()
            program.terminate()

    stdin.on_end(lambda: told.put(None))
    threading.Thread(target=end, daemon=True).start()
    status = program.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
