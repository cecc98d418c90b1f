"""Sends requests when they are due, in a process of its own: `python -m kvsync.testing.load.generator PLAN`.

Each request becomes a record of a history when it is answered, so a killed generator keeps what it measured.
When too many are unanswered for the next one to be sent, it leaves late, and its record says so; latencies
count from when requests were due in any case. After SIGTERM nothing more is sent, and the process ends with
the last answer.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kvsync import stdin
from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.load.plan import Phase, requests
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program, ProgramEnded
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History, Record, read_lines
from kvsync.testing.traffic.sender import REQUEST_TIMEOUT_S, Sender
from kvsync.testing.traffic.trace import TraceRequest

CONTROL_RATE_PER_S = 5.0
WORKERS = 1024
"""Requests that can be unanswered at a time: three seconds of the highest rate without a single answer."""
_LAST_ANSWER_S = REQUEST_TIMEOUT_S + 5.0
"""By then the last request was answered or given up."""
_READY_TIMEOUT_S = 60.0
"""For a start on a machine that is busy with other starts; alone it takes half a second."""

_TURN_S = 0.1
"""How soon a signal is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStream:
    """Requests to one place; their records are of the kind `f`."""

    f: str
    url: str
    model: str
    phases: Sequence[Phase]
    seed: int

    def requests(self) -> Iterable[TraceRequest]:
        """Return what is to be sent, so that what was sent can be held against it."""
        return requests(self.phases, model=self.model, seed=self.seed)


def with_control(
    url: str, model: str, control: PodHandle, phases: Sequence[Phase], seed: int
) -> tuple[RequestStream, RequestStream]:
    """Return the requests to a gateway, and the control: a few past it to one pod, in the same phases."""
    few = [replace(phase, rate_per_s=CONTROL_RATE_PER_S) for phase in phases]
    return (
        RequestStream(f="request", url=url, model=model, phases=phases, seed=seed),
        RequestStream(f="control", url=control.url, model=control.model, phases=few, seed=seed),
    )


class Generator:
    """The process that sends streams side by side: begun on entering, ended on leaving.

    On leaving without an error it waits for the answers to what was sent. Its records are filed under `test`,
    in a history of the run that is named after it. Raises WaitTimeout when it does not begin, and
    ProgramEnded when it fails.
    """

    def __init__(self, streams: Sequence[RequestStream], *, run_dir: Path, name: str, test: str) -> None:
        self._history, self._log = run_dir / "history" / f"{name}.jsonl", run_dir / "logs" / f"{name}.log"
        plan = {"streams": [asdict(each) for each in streams], "history": str(self._history), "test": test}
        self._argv = [sys.executable, "-m", __name__, json.dumps(plan)]
        self._ledger = Ledger(run_dir / "ledger.jsonl")

    def __enter__(self) -> Self:
        self._program = Program(
            "the load generator", self._argv, log=self._log, ledger=self._ledger, may_end=True
        )
        try:
            self.began = wait_for(
                self._told, what="the load begins", timeout_s=_READY_TIMEOUT_S, last_seen=self._program.tail
            )
        except BaseException:
            with suppress(ProgramEnded):
                self._program.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._program.ask_to_end()
            self.await_end(_LAST_ANSWER_S)
        self._program.stop()

    @property
    def is_running(self) -> bool:
        """Whether requests are still to be sent or answered."""
        return self._program.is_running

    def check(self) -> None:
        """Raise ProgramEnded when it failed."""
        self._program.check()

    def await_end(self, timeout_s: float) -> None:
        """Wait until the last request was answered, at most `timeout_s`."""
        with suppress(WaitTimeout):
            wait_for(lambda: not self.is_running, what="the end of the load", timeout_s=timeout_s)

    def records(self) -> Iterable[Record]:
        """Give the record of each request so far."""
        return (each for each in read_lines(self._history) if each["f"] != "load")

    def _told(self) -> float | None:
        self._program.check()
        began = (each["t_mono"] for each in read_lines(self._history) if each["f"] == "load")
        return next((float(str(each)) for each in began), None)


def _send(sender: Sender, coming: Iterable[TraceRequest], began: float, stop: threading.Event) -> None:
    """Send requests when they are due, until `stop` is set, and wait for the last answer."""
    with sender, ThreadPoolExecutor(WORKERS) as pool:
        for request in coming:
            due = began + request.at_s
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            pool.submit(sender.send, request, due)


def _main(plan: Mapping[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    history = History(Path(plan["history"]), proc="load").bind(test=plan["test"])
    streams = [_stream(**each) for each in plan["streams"]]
    prepared = [(Sender(each.url, history, f=each.f), each.requests()) for each in streams]
    began = time.monotonic()
    history.append(f="load", type="start")
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(_send, sender, coming, began, stop) for sender, coming in prepared]
        # A handler runs in the main thread, which a signal that another thread got does not wake up.
        while wait(sent, _TURN_S).not_done:
            pass
    for each in sent:
        each.result()


def _stream(*, phases: Sequence[Mapping[str, Any]], **fields: Any) -> RequestStream:
    return RequestStream(phases=[Phase(**each) for each in phases], **fields)


if __name__ == "__main__":
    stdin.on_end(lambda: os.kill(os.getpid(), signal.SIGKILL))
    _main(json.loads(sys.argv[1]))
