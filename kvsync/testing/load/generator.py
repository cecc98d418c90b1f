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
from kvsync.testing.load.http.sender import PLACES
from kvsync.testing.load.http.stream import HttpStream
from kvsync.testing.load.plan import Phase, requests
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program, ProgramEnded
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History, Record, read_lines
from kvsync.testing.traffic.sender import REQUEST_TIMEOUT_S, Sender
from kvsync.testing.traffic.trace import TraceRequest

CONTROL_RATE_PER_S = 5.0
_MARGIN_S = 5.0
"""After the time limit of a request, by which it was answered or given up."""
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

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the stream that `asdict` made JSON of."""
        return cls(**{**fields, "phases": [Phase(**each) for each in fields["phases"]]})

    @property
    def last_answer_s(self) -> float:
        """How long the last answer may take."""
        return REQUEST_TIMEOUT_S

    def requests(self) -> Iterable[TraceRequest]:
        """Return what is to be sent, so that what was sent can be held against it."""
        return requests(self.phases, model=self.model, seed=self.seed)

    def sender(self, history: History) -> Sender:
        """Return what sends them."""
        return Sender(self.url, history, f=self.f)

    def coming(self, sender: Sender, began: float, stop: threading.Event) -> Iterable[TraceRequest]:
        """Give what is to be sent, in order."""
        return self.requests()


Stream = RequestStream | HttpStream
"""What the generator sends: requests to an engine or a gateway, or to any HTTP service."""

_STREAMS: Mapping[str, type[Stream]] = {each.__name__: each for each in (RequestStream, HttpStream)}


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
    in `history`, or else a history of the run that is named after it. Raises WaitTimeout when it does not
    begin, and ProgramEnded when it fails.
    """

    def __init__(
        self, streams: Sequence[Stream], *, run_dir: Path, name: str, test: str, history: Path | None = None
    ) -> None:
        self.history = history or run_dir / "history" / f"{name}.jsonl"
        self.log = run_dir / "logs" / f"{name}.log"
        self._plan = {
            "streams": [[type(each).__name__, asdict(each)] for each in streams],
            "history": str(self.history),
            "test": test,
        }
        self._last_answer_s = max(each.last_answer_s for each in streams) + _MARGIN_S
        self._ledger = Ledger(run_dir / "ledger.jsonl")

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        plan = self.log.with_suffix(".plan.json")
        plan.write_text(json.dumps(self._plan), encoding="utf-8")
        argv = [sys.executable, "-m", __name__, str(plan)]
        self._program = Program("the load generator", argv, log=self.log, ledger=self._ledger, may_end=True)
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
            self.await_end(self._last_answer_s)
        self._program.stop()

    @property
    def is_running(self) -> bool:
        """Whether requests are still to be sent or answered."""
        return self._program.is_running

    def hurry(self, within_s: float) -> None:
        """Let leaving wait no longer than this for the last answers."""
        self._last_answer_s = min(self._last_answer_s, within_s)

    def check(self) -> None:
        """Raise ProgramEnded when it failed."""
        self._program.check()

    def await_end(self, timeout_s: float) -> None:
        """Wait until the last request was answered, at most `timeout_s`."""
        with suppress(WaitTimeout):
            wait_for(lambda: not self.is_running, what="the end of the load", timeout_s=timeout_s)

    def records(self) -> Iterable[Record]:
        """Give the record of each request so far."""
        return (each for each in read_lines(self.history) if each["f"] not in ("load", "phase"))

    def _told(self) -> float | None:
        self._program.check()
        began = (each["t_mono"] for each in read_lines(self.history) if each["f"] == "load")
        return next((float(str(each)) for each in began), None)


def _send(stream: Any, sender: Any, began: float, stop: threading.Event) -> None:
    """Send requests of a stream when they are due, until `stop` is set, and wait for the last answer."""
    with sender, ThreadPoolExecutor(PLACES) as pool:
        for request in stream.coming(sender, began, stop):
            due = began + request.at_s
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            pool.submit(sender.send, request, due)


def _main(plan: Mapping[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    history = History(Path(plan["history"]), proc="load").bind(test=plan["test"])
    streams = [_STREAMS[name].from_json(fields) for name, fields in plan["streams"]]
    prepared = [(each, each.sender(history)) for each in streams]
    began = time.monotonic()
    history.append(f="load", type="start")
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(_send, stream, sender, began, stop) for stream, sender in prepared]
        # A handler runs in the main thread, which a signal that another thread got does not wake up.
        while wait(sent, _TURN_S).not_done:
            pass
    for each in sent:
        each.result()


if __name__ == "__main__":
    stdin.on_end(lambda: os.kill(os.getpid(), signal.SIGKILL))
    plan = Path(sys.argv[1])
    read = json.loads(plan.read_text(encoding="utf-8"))
    plan.unlink()  # it may have passwords in it
    _main(read)
