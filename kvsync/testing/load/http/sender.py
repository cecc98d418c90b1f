"""Sends requests to an HTTP service and records each answer.

Connections are kept open and used again, the last one first, as clients do. Redirects are not followed. An
answer that takes longer than its request may is an error, however the bytes trickle in.
"""

import http.client
import select
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from kvsync.testing.load.http.requests import Captured, HttpRequest, captured_in
from kvsync.testing.load.http.tally import SUM, RequestTally
from kvsync.testing.results.history import History
from kvsync.testing.results.texts import shortened

PLACES = 1024
"""Requests that can be without an answer at a time: three seconds of a high rate without a single one."""
IDLE_S = 3.0
"""Servers close connections that nothing was sent on for five seconds, some sooner."""
LARGEST = 16 * 1024**2
"""Bytes of an answer that are read to capture values; the rest of it is only received."""
SUM_S = 5.0
"""How often sums are written: what a killed sender loses."""
_CHUNK = 65536


class _TooLate(Exception):
    """Its time is over before it could be sent; or else a load would take as long as its requests wait."""


class HttpSender:
    """Sends requests to a service at `target`; may be used by several threads at a time.

    Of those that are served, and of those that fail, the first `most_records` have a record each. What comes
    after them is written as sums, so that nothing is lost that counts: see kvsync.testing.load.http.tally.
    """

    def __init__(
        self, target: str, history: History, *, f: str = "request", most_records: int | None = None
    ) -> None:
        self.history, self.captured, self._f = history, Captured(), f
        parts = urlsplit(target)
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[tuple[float, http.client.HTTPConnection]] = deque()
        self._lock = threading.Lock()
        self._tallies: dict[tuple[int, str], RequestTally] = {}
        self._queued = self._busy = 0
        self._most, self._written = most_records, Counter[object]()
        self._sums: dict[tuple[int, str], RequestTally] = {}
        self._summed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop()[1].close()
        with self._lock:
            self._write_sums()

    @property
    def waiting(self) -> int:
        """Requests that were due and have no answer."""
        return self._queued

    def tally(self, phase: int, name: str) -> RequestTally:
        """Return what came of requests of this kind in a phase so far."""
        with self._lock:
            return RequestTally.of([self._tallies.get((phase, name), RequestTally())])

    def expect(self) -> None:
        """Note that a request is going to be sent."""
        with self._lock:
            self._queued += 1

    def send(self, request: HttpRequest, due: float) -> None:
        """Send one request now, wait for its answer and record it; a failure is an answer, too."""
        sent = time.monotonic()
        with self._lock:
            self._busy += 1
            is_crowded = self._busy >= PLACES
        status, error = 0, ""
        try:
            if sent - due > request.kind.timeout_s:
                raise _TooLate
            status, headers, body = self._exchange(request, sent + request.kind.timeout_s)
            if request.kind.is_served_by(status):
                self._capture(request, headers, body)
            else:
                error = shortened(body[:500].decode(errors="replace").strip()) or "not what was expected"
        except _TooLate:
            error = (
                f"not sent: it was late by more than the {request.kind.timeout_s:g} s that an answer may take"
            )
        except TimeoutError:
            error = f"no answer within {request.kind.timeout_s:g} s"
        except (OSError, http.client.HTTPException) as exc:
            error = f"{type(exc).__name__}: {exc}"
        self._record(
            request,
            type="fail" if error else "ok",
            due=due,
            late_s=sent - due,
            latency_s=time.monotonic() - due,
            status=status,
            error=error,
            **({"crowded": True} if is_crowded else {}),
        )

    def _record(self, request: HttpRequest, **fields: object) -> None:
        record = {"phase": request.phase, "request": request.kind.name, **fields}
        with self._lock:
            self._busy -= 1
            self._queued -= 1
            place = request.phase, request.kind.name
            self._tallies.setdefault(place, RequestTally()).add(record)
            self._written[record["type"]] += 1
            if is_summed := self._most is not None and self._written[record["type"]] > self._most:
                self._sums.setdefault(place, RequestTally()).add(record)
            if self._sums and time.monotonic() - self._summed_at >= SUM_S:
                self._write_sums()
        if not is_summed:
            self.history.append(f=self._f, **record)  # type: ignore[arg-type]  # the type is one of its fields

    def _write_sums(self) -> None:
        for (phase, name), tally in self._sums.items():
            self.history.append(f=self._f, type=SUM, phase=phase, request=name, **tally.to_json())
        self._sums.clear()
        self._summed_at = time.monotonic()

    def _exchange(self, request: HttpRequest, until: float) -> tuple[int, Mapping[str, str], bytes]:
        connection = self._connection(until)
        is_whole = False
        try:
            headers = {"User-Agent": "kvsync-ci", **request.headers}
            connection.request(request.kind.method, self._base + request.path, request.body, headers)
            response = connection.getresponse()
            kept = bytearray()
            while chunk := response.read1(_CHUNK):
                if len(kept) < LARGEST:
                    kept += chunk
                _limit(connection, until)
            is_whole = not response.will_close
            response.close()  # or else the connection takes no other request
            given = {name.lower(): value for name, value in response.headers.items()}
            return response.status, given, bytes(kept)
        finally:
            if is_whole:
                self._idle.append((time.monotonic(), connection))
            else:
                connection.close()

    def _connection(self, until: float) -> http.client.HTTPConnection:
        """Return an open connection that can be used again, or else a new one."""
        while self._idle:
            try:
                since, connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - since < IDLE_S and connection.sock and not _is_closed(connection):
                _limit(connection, until)
                return connection
            connection.close()
        if self._tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=_left(until), context=self._tls
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=_left(until))

    def _capture(self, request: HttpRequest, headers: Mapping[str, str], body: bytes) -> None:
        for name, where in request.kind.capture.items():
            value = captured_in(where, headers, body)
            if value is not None:
                self.captured.keep(name, value)


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Say whether the server has closed it: nothing else is to be read between two answers."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _limit(connection: http.client.HTTPConnection, until: float) -> None:
    """Let what is waited for next take no longer than `until`; a server may have closed it meanwhile."""
    if connection.sock:
        connection.sock.settimeout(_left(until))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
