"""Sockets to one publisher that never end our process, however far its reader falls behind.

Rules:

1. A line is a socket that connects once: when its connection ends, or cannot be made, it is over.
2. The connection to a publisher is two lines. One carries the events and has no heartbeat. The other, the
   pulse, subscribes to nothing and has one: it tells whether the publisher lives.
3. The pulse comes first, so that what is not a publisher sees one attempt at a time. The connection is up
   when both lines are, and over when either is.

Reasons: a reader that falls behind fills its queue, and libzmq then reads nothing more from that connection,
the answers to its heartbeats included. It takes a healthy peer for dead, and aborts the process when what it
had read meets the next connection of the same socket (`_input_stopped`, zeromq/libzmq #3937 and #4767; seen
with 4.3.5). A line whose queue stays empty can be timed, and one that does not reconnect has no next
connection. Without a heartbeat a full queue does what it should: TCP holds up the publisher's socket, whose
own queue fills before it drops anything.
"""

from contextlib import ExitStack
from enum import Enum, auto
from functools import partial
from types import TracebackType
from typing import Self
from uuid import uuid4

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from kvsync.codec import LIMITS
from kvsync.config import SubscriberOptions

Context = zmq.asyncio.Context

QUEUE = 10_000
"""Messages that libzmq keeps for us, as many as vLLM's ring: 60 MB where each announces 64 blocks. With its
default of 1000, a consumer that stalled for a second at 40 000 messages a second lost 25 500 (measured)."""

_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


class Link(Enum):
    """How a connection is."""

    CONNECTING = auto()
    UP = auto()
    OVER = auto()


class Line:
    """A socket of some kind that connects to one endpoint, once. Raises zmq.ZMQError for a bad endpoint."""

    def __init__(
        self,
        context: Context,
        kind: int,
        endpoint: str,
        options: SubscriberOptions,
        *,
        heartbeat: bool = False,
    ) -> None:
        self.link = Link.CONNECTING
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
            self.monitor = socket.get_monitor_socket(_EVENTS, f"inproc://{uuid4()}")
            unless_made.callback(self.monitor.close, linger=0)
            unless_made.callback(socket.disable_monitor)
            self._events = plain(self.monitor)
            socket.connect(endpoint)
            unless_made.pop_all()

    def look(self) -> Link:
        """Read what libzmq reported meanwhile; returns how the line is."""
        try:
            while self.link is not Link.OVER:
                event = parse_monitor_message(self._events.recv_multipart(zmq.NOBLOCK))["event"]
                self.link = Link.UP if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else Link.OVER
        except zmq.Again:
            pass
        return self.link

    def close(self) -> None:
        """Close it at once."""
        # First of all: an event for a monitor that is closed blocks libzmq's I/O thread, and with it every
        # source that shares the context (seen with 4.3.5).
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class Connection:
    """A publisher's events on `live`, once the connection is up. Raises zmq.ZMQError for a bad endpoint."""

    def __init__(self, context: Context, endpoint: str, options: SubscriberOptions) -> None:
        self._connect = partial(Line, context, zmq.SUB, endpoint, options)
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
    def live(self) -> zmq.asyncio.Socket:
        """The socket that the events arrive on, once the connection is up."""
        assert self._events
        return self._events.socket

    @property
    def monitors(self) -> tuple[zmq.asyncio.Socket, ...]:
        """The sockets that have something to read when `look` has news."""
        return tuple(line.monitor for line in self._lines)

    def look(self) -> Link:
        """Return how the connection is now."""
        if self._pulse.look() is not Link.UP:
            return self._pulse.link
        if self._events is None:
            self._events = self._connect()
            self._events.socket.subscribe(b"")
        return self._events.look()


def plain(socket: zmq.asyncio.Socket) -> zmq.Socket[bytes]:
    """The same socket for calls that do not wait, which cost a quarter of the asynchronous ones."""
    return zmq.Socket.shadow(socket.underlying)


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
