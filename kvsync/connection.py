"""Sockets to one publisher that never end our process, however far its reader falls behind.

Rules:

1. A line is a socket that connects once: when its connection ends, or cannot be made, it is over.
2. The connection to a publisher is two lines. One carries the events and has no heartbeat. The other, the
   pulse, subscribes to nothing and has one: it tells whether the publisher lives.
3. The pulse comes first, so that what is not a publisher sees one attempt at a time. The connection is up
   when both lines are, and over when either is.
4. A line rings when there is something to read: the file descriptor of its sockets is in the event loop. It
   rings for what is new only, so who was woken reads until zmq.Again, or remembers that there is more.

Reasons: a reader that falls behind fills its queue, and libzmq then reads nothing more from that connection,
the answers to its heartbeats included. It takes a healthy peer for dead, and aborts the process when what it
had read meets the next connection of the same socket (`_input_stopped`, zeromq/libzmq #3937 and #4767; seen
with 4.3.5). A line whose queue stays empty can be timed, and one that does not reconnect has no next
connection. Without a heartbeat a full queue does what it should: TCP holds up the publisher's socket, whose
own queue fills before it drops anything. pyzmq's asynchronous sockets and pollers cost ten times what reading
does: 98 % of a core for 10 000 small events a second.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Self
from uuid import uuid4

import zmq
from zmq.utils.monitor import parse_monitor_message

from kvsync.codec import LIMITS
from kvsync.config import SubscriberOptions

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

QUEUE = 10_000
"""Messages that libzmq keeps for us, as many as vLLM's ring: 60 MB where each announces 64 blocks. With its
default of 1000, a consumer that stalled for a second at 40 000 messages a second lost 25 500 (measured)."""

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


class Link(Enum):
    """How a connection is."""

    CONNECTING = auto()
    UP = auto()
    OVER = auto()


class Alarm:
    """Wakes one task when lines ring, or when a time is over at the latest.

    A timer outlives the wait that it was set for, and may end a later one early: to set one and cancel it for
    each message takes a tenth of the CPU time of receiving it (measured).
    """

    def __init__(self) -> None:
        self._rings = False
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """Wake the task, or keep it from falling asleep."""
        self._rings = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Return once it rings, or rang since the last time; other tasks run in any case."""
        if self._rings or timeout_s <= 0:
            await asyncio.sleep(0)
        else:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            self._wake_by(loop, loop.time() + timeout_s)
            await self._waiting
        self._rings = False

    def close(self) -> None:
        """Leave the event loop."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _wake_by(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if not self._timer or self._timer.when() > due:
            self.close()
            self._timer = loop.call_at(due, self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        self._wake()


class Bell:
    """Rings an alarm when libzmq has something for a socket; `has_rung` until that is set back."""

    def __init__(self, socket: Socket, alarm: Alarm) -> None:
        self.has_rung = True
        self._socket, self._alarm = socket, alarm
        self._loop, self._file = asyncio.get_running_loop(), socket.fileno()
        self._loop.add_reader(self._file, self._ring)
        alarm.ring()  # What comes before a first read, however soon, gives no signal.

    def _ring(self) -> None:
        # This takes the signal, which would else be given again and again while the socket is left as it is.
        self._socket.getsockopt(zmq.EVENTS)
        self.has_rung = True
        self._alarm.ring()

    def close(self) -> None:
        """Leave the event loop: a closed descriptor's number is soon another's."""
        self._loop.remove_reader(self._file)


class Line:
    """A socket of some kind that connects to one endpoint, once. Raises zmq.ZMQError for a bad endpoint.

    With a heartbeat, what arrives on it does not ring.
    """

    def __init__(
        self,
        context: Context,
        kind: int,
        endpoint: str,
        options: SubscriberOptions,
        alarm: Alarm,
        *,
        heartbeat: bool = False,
    ) -> None:
        self.link = Link.CONNECTING
        self._alarm = alarm
        patience = _milliseconds(options.heartbeat_s)
        with ExitStack() as unless_made:
            self.socket = socket = context.socket(kind)
            unless_made.callback(socket.close, linger=0)
            socket.linger = 0
            socket.rcvhwm = QUEUE
            socket.maxmsgsize = LIMITS.payload_bytes
            socket.ipv6 = True
            socket.reconnect_ivl = -1
            for option in (zmq.CONNECT_TIMEOUT, zmq.HANDSHAKE_IVL):
                socket.setsockopt(option, patience)
            if heartbeat:
                socket.setsockopt(zmq.HEARTBEAT_IVL, patience)
                socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, patience)
            # The name that pyzmq would choose can still be taken by a socket that was just closed.
            self._monitor = socket.get_monitor_socket(_EVENTS, f"inproc://{uuid4()}")
            unless_made.callback(self._monitor.close, linger=0)
            unless_made.callback(socket.disable_monitor)
            socket.connect(endpoint)
            unless_made.pop_all()
        self._news = Bell(self._monitor, alarm)
        self._bells = (self._news,) if heartbeat else (self._news, Bell(socket, alarm))

    def look(self) -> Link:
        """Read what libzmq reported meanwhile; returns how the line is."""
        if not self._news.has_rung:
            return self.link
        self._news.has_rung = False
        try:
            while self.link is not Link.OVER:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
                self.link = Link.UP if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else Link.OVER
        except zmq.Again:
            pass
        return self.link

    def send(self, frames: Sequence[bytes]) -> None:
        """Send a message; raises zmq.ZMQError when that cannot be done at once."""
        self.socket.send_multipart(frames, zmq.NOBLOCK)
        self._alarm.ring()  # Sending may have taken the signal of what has arrived.

    def close(self) -> None:
        """Close it at once."""
        for bell in self._bells:
            bell.close()
        # First of all: an event for a monitor that is closed blocks libzmq's I/O thread, and with it every
        # source that shares the context (seen with 4.3.5).
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close(linger=0)


class Connection:
    """A publisher's events on `live`, once the connection is up. Raises zmq.ZMQError for a bad endpoint."""

    def __init__(self, context: Context, endpoint: str, options: SubscriberOptions, alarm: Alarm) -> None:
        self._connect = partial(Line, context, zmq.SUB, endpoint, options, alarm)
        self._pulse = self._connect(heartbeat=True)
        self._events: Line | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()

    @property
    def _lines(self) -> tuple[Line, ...]:
        return (self._pulse, self._events) if self._events else (self._pulse,)

    @property
    def live(self) -> Socket:
        """The socket that the events arrive on, once the connection is up."""
        assert self._events
        return self._events.socket

    def look(self) -> Link:
        """Return how the connection is now."""
        if self._pulse.look() is not Link.UP:
            return self._pulse.link
        if self._events is None:
            self._events = self._connect()
            self._events.socket.subscribe(b"")
        return self._events.look()


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
