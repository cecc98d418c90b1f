"""What is asked all the time while faults come and go: one request after the other, whenever one is due.

Requests do not wait for the answers to earlier ones (an open model), and a latency counts from when its
request was due: what a service holds up is not hidden by fewer requests.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from kvsync.testing.load.generator import Generator
from kvsync.testing.load.http.requests import RequestKind
from kvsync.testing.load.http.stream import HttpStream
from kvsync.testing.load.plan import Phase, arrivals
from kvsync.testing.processes.tools import Tools
from kvsync.testing.results.history import History
from kvsync.testing.results.texts import shortened
from kvsync.testing.traffic.service import Sample

AT_MOST_S = 24 * 3600.0
"""Longer than any fault is held."""

MOST_WORKERS = 1024

Ask = Callable[[], str]
"""Asks once; says what was wrong with the answer, "" if nothing was."""


def seed_during(fault: str, seed: int) -> int:
    """Return the seed of the requests during a fault of a run: each has values of its own, so that what one
    left behind is not asked for again by the next."""
    return random.Random(f"{seed} {fault}").getrandbits(31)  # noqa: S311 - no secret


class SteadyRequests(Protocol):
    """A context in which requests are sent, until it is left."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send no more, and wait for the last answers."""

    def samples(self) -> list[Sample]:
        """Return what came of the requests that are answered; times are those of the monotonic clock."""

    def check(self) -> None:
        """Raise ClusterError when nothing is sent any more."""


class Probing:
    """Calls `ask` at a rate, each time in a thread of its own, and records each answer in the history."""

    def __init__(self, ask: Ask, history: History, *, rate_per_s: float, timeout_s: float, seed: int) -> None:
        self._ask, self._history = ask, history
        phase = Phase(name="steady", seconds=AT_MOST_S, rate_per_s=rate_per_s)
        self._times = arrivals([phase], random.Random(seed))  # noqa: S311 - no secret
        self._pool = ThreadPoolExecutor(min(MOST_WORKERS, round(2 * rate_per_s * timeout_s) + 1))
        self._stop, self._samples = threading.Event(), list[Sample]()
        self._thread = threading.Thread(target=self._send, name="steady")

    def __enter__(self) -> Self:
        """See SteadyRequests."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See SteadyRequests."""
        self._stop.set()
        self._thread.join()
        self._pool.shutdown(cancel_futures=kind is not None)

    def samples(self) -> list[Sample]:
        """See SteadyRequests."""
        return list(self._samples)

    def check(self) -> None:
        """See SteadyRequests: it ends with its context alone."""

    def _send(self) -> None:
        began = time.monotonic()
        for number, at_s in enumerate(self._times):
            due = began + at_s
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._pool.submit(self._once, number, due)

    def _once(self, number: int, due: float) -> None:
        late_s = time.monotonic() - due
        error = self._ask()
        sample = Sample(
            f="request",
            due=due,
            late_s=late_s,
            latency_s=time.monotonic() - due,
            ok=not error,
            error=error,
        )
        self._samples.append(sample)
        self._history.append(
            f=sample.f,
            type="fail" if error else "ok",
            number=number,
            due=due,
            late_s=late_s,
            latency_s=sample.latency_s,
            status=0,
            error=error,
        )


class Requests:
    """Requests of a stream, sent by the process of the load generator; `name` is that of their history."""

    def __init__(self, stream: HttpStream, *, run_dir: Path, name: str, test: str) -> None:
        self._generator = Generator([stream], run_dir=run_dir, name=name, test=test)

    def __enter__(self) -> Self:
        """See SteadyRequests."""
        self._generator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See SteadyRequests."""
        self._generator.__exit__(kind, error, trace)

    def samples(self) -> list[Sample]:
        """See SteadyRequests."""
        return [Sample.of(each) for each in self._generator.records() if each["f"] == "request"]

    def check(self) -> None:
        """See SteadyRequests."""
        self._generator.check()


def http_probe(address: str, timeout_s: float, seed: int) -> HttpStream:
    """Return requests to one address; an answer counts with a status below 400."""
    parts = urlsplit(address)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    kind = RequestKind(name="probe", path=path, timeout_s=timeout_s)
    return HttpStream(target=f"{parts.scheme}://{parts.netloc}", kinds=[kind], phases=[], seed=seed)


def program_probe(argv: list[str], folder: Path, environ: Mapping[str, str], timeout_s: float) -> Ask:
    """Return what runs a program; an exit status of 0 counts."""
    tools = Tools(environ=environ)

    def ask() -> str:
        said = tools.ask("env", "-C", str(folder), *argv, timeout_s=timeout_s)
        return "" if said.ok else shortened(said.reason)

    return ask
