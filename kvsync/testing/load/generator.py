"""Sends requests when they are due, in a process of its own: `python -m kvsync.testing.load.generator PLAN`.

Each request becomes a record of a history when it is answered, so a killed generator keeps what it measured.
When so many are unanswered that nobody is left to send the next one, it leaves late, and its record says so;
latencies count from when requests were due in any case.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.load.plan import Phase, requests
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History, Record, read_lines
from kvsync.testing.traffic.sender import Sender
from kvsync.testing.traffic.trace import TraceRequest

WORKERS = 1024
"""Requests that can be unanswered at a time: three seconds of the highest rate without a single answer."""
_READY_TIMEOUT_S = 60.0
"""For a start on a machine that is busy with other starts; alone it takes half a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStream:
    """Requests to one place; their records are of the kind `f`."""

    f: str
    url: str
    model: str
    phases: Sequence[Phase]
    seed: int

    def requests(self) -> Iterable[TraceRequest]:
        """Return what is sent: also for who wants to know whether all of it was."""
        return requests(self.phases, model=self.model, seed=self.seed)


class Generator:
    """The process that sends streams side by side: begun on entering, ended on leaving.

    Raises WaitTimeout when it does not begin.
    """

    def __init__(
        self, streams: Sequence[RequestStream], *, history: Path, test: str, log: Path, ledger: Ledger
    ) -> None:
        plan = {"streams": [asdict(each) for each in streams], "history": str(history), "test": test}
        self._argv = [sys.executable, "-m", __name__, json.dumps(plan)]
        self._history, self._log, self._ledger = history, log, ledger

    def __enter__(self) -> Self:
        self._program = Program("load generator", self._argv, log=self._log, ledger=self._ledger)
        try:
            self.began = wait_for(
                self._told, what="the load begins", timeout_s=_READY_TIMEOUT_S, last_seen=self._program.tail
            )
        except BaseException:
            self._program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.stop()

    @property
    def is_running(self) -> bool:
        """Whether requests are still to be sent or answered."""
        return self._program.is_running

    def await_end(self, timeout_s: float) -> None:
        """Wait until the last request was answered, or for so long."""
        with suppress(WaitTimeout):
            wait_for(lambda: not self.is_running, what="the end of the load", timeout_s=timeout_s)

    def records(self) -> Iterable[Record]:
        """Give the record of each request so far."""
        return (each for each in read_lines(self._history) if each["f"] != "load")

    def _told(self) -> float | None:
        if not self.is_running:
            raise ClusterError(f"the load generator ended; its log ends with:\n{self._program.tail()}")
        began = (each["t_mono"] for each in read_lines(self._history) if each["f"] == "load")
        return next((float(str(each)) for each in began), None)


def _send(sender: Sender, coming: Iterable[TraceRequest], began: float) -> None:
    """Send requests when they are due, and wait for the last answer."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for request in coming:
            due = began + request.at_s
            time.sleep(max(0.0, due - time.monotonic()))
            pool.submit(sender.send, request, due)


def _main(plan: Mapping[str, Any]) -> None:
    history = History(Path(plan["history"]), proc="load").bind(test=plan["test"])
    streams = [_stream(**each) for each in plan["streams"]]
    prepared = [(Sender(each.url, history, f=each.f), each.requests()) for each in streams]
    began = time.monotonic()
    history.append(f="load", type="start")
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(_send, sender, coming, began) for sender, coming in prepared]
    for each in sent:
        each.result()


def _stream(*, phases: Sequence[Mapping[str, Any]], **fields: Any) -> RequestStream:
    return RequestStream(phases=[Phase(**each) for each in phases], **fields)


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    _main(json.loads(sys.argv[1]))
