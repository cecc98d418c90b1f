"""Publishers in a process of their own that offer a load, whether or not subscribers keep up.

Rules:

1. They bind and say where.
2. They publish empty batches until SIGUSR1, so that subscribers can tell that they have joined.
3. They publish the load in turn, every event in a batch of its own that leaves when it is due, however late
   the one before was; then they say when each left.
4. They repeat what is asked for until the process is ended or its standard input ends.

What they say are lines of JSON in the log. Times are of the monotonic clock, which all processes of a machine
share.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from kvsync import stdin
from kvsync.codec import Encoding, encode
from kvsync.events import BlockStored, EventBatch
from kvsync.publisher import Publisher
from kvsync.testing.benchmarks.workload import encoded, prompts, stored
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines

_ENDPOINT = "tcp://127.0.0.1:*"
_EMPTY = encode(EventBatch(ts=0.0, events=()))
_EMPTY_INTERVAL_S = 0.002
"""Of all publishers together, so that however many they are, the receiver is idle until the load begins."""
_TURN = 64
"""Batches sent in a row before requests for a replay are looked at."""
_READY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLoad:
    """Events of prompts of `least` to `most` tokens; a rate of 0 is as fast as possible."""

    seed: int
    events: int
    least: int
    most: int
    rate_per_s: float = 0.0
    publishers: int = 1

    def stored(self) -> list[BlockStored]:
        """Return the events: number i is of publisher i modulo their number."""
        rng = random.Random(self.seed)  # noqa: S311 - no secret
        return [stored(prompt) for prompt in prompts(rng, self.events, range(self.least, self.most + 1))]

    def due_s(self, number: int) -> float:
        """Return when an event is due, in seconds from the start."""
        return number / self.rate_per_s if self.rate_per_s else 0.0


class Flood:
    """The process that offers a load. Ready to begin on entering, ended on leaving. Raises WaitTimeout."""

    def __init__(self, load: EventLoad, *, log: Path, ledger: Ledger) -> None:
        self.load = load
        self._log, self._ledger = log, ledger

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", __name__, json.dumps(asdict(self.load))]
        self._program = Program("flood", argv, log=self._log, ledger=self._ledger)
        try:
            told = self._told("endpoints", _READY_TIMEOUT_S)
            self.endpoints = cast("Sequence[tuple[str, str]]", told)
        except BaseException:
            self._program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._program.stop()

    def begin(self) -> None:
        """Let the load begin."""
        os.kill(self._program.pid, signal.SIGUSR1)

    def sent(self, timeout_s: float) -> list[float]:
        """Return when each event left. Raises WaitTimeout."""
        return cast("list[float]", self._told("sent", timeout_s))

    def _told(self, what: str, timeout_s: float) -> object:
        return wait_for(
            lambda: next((line[what] for line in read_lines(self._log) if what in line), None),
            what=f"the flood says its {what}",
            timeout_s=timeout_s,
            last_seen=self._program.tail,
        )


async def _offer(load: EventLoad) -> None:
    payloads = encoded(load.stored(), events_as=Encoding.MAP)
    begin = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin.set)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        publishers = [
            await stack.enter_async_context(Publisher(endpoint=_ENDPOINT, replay_endpoint=_ENDPOINT))
            for _ in range(load.publishers)
        ]
        for publisher in publishers:
            tasks.create_task(publisher.serve())
        _say(endpoints=[(publisher.endpoint, publisher.replay_endpoint) for publisher in publishers])
        for publisher in cycle(publishers):
            publisher.publish(_EMPTY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(begin.wait(), _EMPTY_INTERVAL_S)
            if begin.is_set():
                break
        _say(sent=await _send(load, payloads, publishers))


async def _send(load: EventLoad, payloads: list[bytes], publishers: list[Publisher]) -> list[float]:
    """Publish each payload when it is due; returns when they left."""
    sent = []
    start = time.monotonic()
    for number, payload in enumerate(payloads):
        early_s = start + load.due_s(number) - time.monotonic()
        if early_s > 0 or number % _TURN == 0:
            await asyncio.sleep(max(0.0, early_s))
        sent.append(time.monotonic())
        publishers[number % len(publishers)].publish(payload)
    return sent


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    # It took 10 to 30 ms once there were 25,000 batches, and they counted as the receiver's.
    gc.disable()
    stdin.on_end(lambda: os.kill(os.getpid(), signal.SIGTERM))
    asyncio.run(_offer(EventLoad(**json.loads(sys.argv[1]))))
