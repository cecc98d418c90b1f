"""Burns CPU or holds memory: `python -m kvsync.testing.faults.stress cpu --workers 2 --load 0.8 --for 60`.

It also runs inside engine containers, so it imports nothing that their image lacks. No worker outlives the
process that started it: each ends after `--for` seconds, or when standard input ends.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from kvsync import stdin

PERIOD_S = 0.1
"""How often a worker works and rests: short against a request, long against a turn of the scheduler."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the workers until they end, or until SIGTERM."""
    options = _options(argv)
    ends_at = time.monotonic() + options.seconds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if options.what == "cpu":
        work = partial(_burn, options.load, ends_at)
    else:
        work = partial(_hold, options.size // options.workers, ends_at)
    workers = [_start(work) for _ in range(options.workers)]
    try:
        while _goes_on(ends_at, wait_s=1.0):
            pass
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        for worker in workers:
            os.waitpid(worker, 0)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stress", description="Burn CPU or hold memory for a while.")
    parser.add_argument("what", choices=["cpu", "memory"])
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--load", type=float, default=1.0, help="cpu: share of one core for each worker")
    parser.add_argument("--size", type=int, default=0, help="memory: bytes that all workers hold together")
    parser.add_argument("--for", dest="seconds", type=float, default=60.0, help="seconds until the end")
    return parser.parse_args(argv)


def _start(work: Callable[[], None]) -> int:
    """Do `work` in another process; returns its id."""
    worker = os.fork()
    if worker == 0:
        try:
            work()
        finally:
            os._exit(0)
    return worker


def _burn(load: float, ends_at: float) -> None:
    while _goes_on(ends_at, wait_s=(1 - load) * PERIOD_S):
        busy_until = time.monotonic() + load * PERIOD_S
        while time.monotonic() < busy_until:
            pass


def _hold(size_bytes: int, ends_at: float) -> None:
    _held = bytearray(b"\1") * size_bytes  # written, so that the kernel has to provide every page
    while _goes_on(ends_at, wait_s=1.0):
        pass


def _goes_on(ends_at: float, *, wait_s: float) -> bool:
    """Wait, and say whether there is time left and standard input is still open at its other end."""
    rest_s = max(0.0, min(wait_s, ends_at - time.monotonic()))
    return not stdin.has_ended(rest_s) and time.monotonic() < ends_at


if __name__ == "__main__":
    main()
