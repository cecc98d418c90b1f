"""Follow one publisher: sockets around the rules of sequence and codec.

Rules:

1. A live message is taken by three `recv()` and checked by asking its last frame whether it is the last: a
   fifth of what `recv_multipart` costs (measured: 1.9 against 10 us on a busy machine).
2. A message with another number of frames is consumed wholly and counted. A short one shows only after
   frames of the next message were taken; that one is recognised by its topic and kept.
3. Each replay has a DEALER of its own, so answers to an earlier request never mix in. An answer that is not
   a replayed batch ends the replay as failed.
4. Nothing a peer sends ends the subscriber, and after `turn_s` of messages other tasks run. It is a time, not
   a number: 256 messages took 29 to 98 ms (measured), in which a gateway routes nothing.
5. A socket monitor tells the state of the connection, and ZMTP heartbeats notice a peer that died without
   closing. Each connection has a socket of its own: libzmq reconnects in silence, and not at all after an
   oversized message or other violations of its protocol (seen with 4.3.5).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from typing import Protocol
from uuid import uuid4

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from kvsync.codec import END_SEQUENCE, LIMITS, UNKNOWN_TAG, decode, decode_sequence, encode_sequence
from kvsync.config import SubscriberOptions
from kvsync.errors import ConfigError, DecodeError
from kvsync.events import EventBatch, Source
from kvsync.ratelimit import RateLimit
from kvsync.sequence import Counters, Deliver, Forget, Replay, SequenceTracker, State, Step

log = logging.getLogger(__name__)

Context = zmq.asyncio.Context

_MAX_SOCKETS = 65_535
"""libzmq's own limit; each source takes four, and the default of 1023 would end at 255 sources."""

_QUEUE = 100_000
"""Messages that libzmq keeps for us. With its default of 1000, a consumer that stalled for a second at
40 000 messages a second lost 25 500 of them (measured)."""

_CONNECTION_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED

_LIVE_FRAMES = 3
"""Of a live message: the topic, the number, the payload."""

_ANSWER_FRAMES = (3, 4)
"""Of a replayed batch: an empty one, in newer engines the topic (vLLM PR #45177), the number, the payload."""


class Sink(Protocol):
    """Where a subscriber puts what it understood."""

    def apply(self, source: Source, batch: EventBatch) -> None:
        """Apply the next batch of a source."""

    def forget(self, source: Source, reason: str) -> None:
        """Drop everything known of a source, because its history was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What is known of one publisher at one moment.

    `last` is the number of the last batch applied, `live` the newest one seen; `reason` says why the state
    is not EXACT; `errors` counts what could not be read, by reason.
    """

    source: Source
    state: State
    reason: str
    last: int | None
    live: int | None
    last_event_age_s: float | None
    connected: bool
    counters: Counters
    errors: Mapping[str, int]
    batches: int
    events: int

    @property
    def lag_batches(self) -> int:
        """Batches that were seen but are not applied yet."""
        return 0 if self.live is None else max(0, self.live - (-1 if self.last is None else self.last))


@contextmanager
def open_context() -> Iterator[Context]:
    """Sockets for many subscribers, with one I/O thread; what is still open at the end is closed."""
    context = Context()
    context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
    try:
        yield context
    finally:
        context.destroy(linger=0)


class _Inbox:
    """Three-frame messages off a SUB socket; anything else that arrives is counted and passed over."""

    def __init__(self, socket: zmq.Socket[bytes], fault: Callable[[str, str], None]) -> None:
        self._recv = socket.recv
        self._fault = fault
        self._topic: bytes | None = None
        self._window: list[bytes] = []  # the last three frames while a message is skipped
        self._frames = 0

    def take(self) -> tuple[bytes, bytes] | None:
        """Take a number and a payload; None: that was something else. Raises zmq.Again when empty."""
        recv = self._recv
        if self._window:
            return self._skip(recv(zmq.NOBLOCK, copy=False))
        topic = recv(zmq.NOBLOCK)
        try:
            number, payload = recv(zmq.NOBLOCK), recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:  # Messages arrive whole, so this one was shorter.
            self._fault("frames", "a message of 1 or 2 frames")
            return None
        if payload.more or len(number) != len(END_SEQUENCE):
            self._window, self._frames = [topic, number], 2
            return self._skip(payload)
        self._topic = topic
        return number, payload.bytes

    def _skip(self, frame: zmq.Frame) -> tuple[bytes, bytes] | None:
        """Pass over a frame; at the end of the message, keep what may be a good one behind a short one."""
        topic, number, payload = self._window = [*self._window[-2:], frame.bytes]
        self._frames += 1
        if frame.more:
            return None
        self._window = []
        if self._frames == _LIVE_FRAMES:
            self._fault("sequence", f"a number of {len(number)} bytes")
            return None
        self._fault("frames", f"a message of {self._frames} frames, or a short one")
        return (number, payload) if topic == self._topic and len(number) == len(END_SEQUENCE) else None


@dataclass(slots=True, kw_only=True)
class _Repetition:
    """A replay that is asked for at `due` or, once it has a socket, runs until a deadline."""

    start: int
    due: float
    socket: zmq.asyncio.Socket | None = None
    idle_until: float = 0.0
    total_until: float = 0.0

    @property
    def deadline(self) -> float:
        return self.due if self.socket is None else min(self.idle_until, self.total_until)


class Subscriber:
    """One publisher's events: decoded, in order and without gaps, or else its state says so."""

    def __init__(
        self,
        source: Source,
        *,
        endpoint: str,
        replay_endpoint: str | None,
        sink: Sink,
        options: SubscriberOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        context: Context | None = None,
    ) -> None:
        self._source = source
        self._endpoint = endpoint
        self._replay_endpoint = replay_endpoint
        self._sink = sink
        self._options = options or SubscriberOptions()
        self._clock = clock
        self._context = context
        self._tracker = SequenceTracker(replays=replay_endpoint is not None)
        self._limit = RateLimit(self._options.log_interval_s, clock)
        self._errors: Counter[str] = Counter()
        self._batches = self._events = 0
        self._connected = False
        self._last_event_at: float | None = None
        self._probe_at = clock() + self._options.probe_interval_s
        self._repetition: _Repetition | None = None

    @property
    def state(self) -> State:
        """How far the sink's picture of this source can be trusted now."""
        return self._tracker.state

    @property
    def status(self) -> SourceStatus:
        """A snapshot."""
        tracker, at = self._tracker, self._last_event_at
        return SourceStatus(
            source=self._source,
            state=tracker.state,
            reason=tracker.reason,
            last=tracker.last,
            live=tracker.live,
            last_event_age_s=None if at is None else self._clock() - at,
            connected=self._connected,
            counters=tracker.counters,
            errors=dict(self._errors),
            batches=self._batches,
            events=self._events,
        )

    async def run(self) -> None:
        """Follow the publisher until cancelled. Raises ConfigError when no socket can be made for it."""
        options, delay_s = self._options, self._options.reconnect_s
        with ExitStack() as stack:
            context = self._context or stack.enter_context(open_context())
            while True:
                if await self._connection(context) > options.reconnect_max_s:
                    delay_s = options.reconnect_s
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, options.reconnect_max_s)

    async def _connection(self, context: Context) -> float:
        """Wait for a connection and stay until it is lost; returns how many seconds it lasted."""
        with ExitStack() as stack:
            try:
                live = self._socket(context, zmq.SUB)
                stack.callback(live.close, linger=0)
                live.subscribe(b"")
                # The name that pyzmq would choose can still be taken by a socket that was just closed.
                monitor = live.get_monitor_socket(_CONNECTION_EVENTS, f"inproc://{uuid4()}")
                stack.callback(monitor.close, linger=0)
                # First of all: an event for a monitor that is closed blocks libzmq's I/O thread, and with it
                # every source that shares the context (seen with 4.3.5).
                stack.callback(live.disable_monitor)
                live.connect(self._endpoint)
            except zmq.ZMQError as error:
                raise ConfigError(
                    str(self._source), [f"cannot connect to {self._endpoint}: {error}"]
                ) from error
            stack.callback(self._stop_replay)
            return await self._follow(context, live, monitor)

    async def _follow(self, context: Context, live: zmq.asyncio.Socket, monitor: zmq.asyncio.Socket) -> float:
        inbox, plain_monitor = _Inbox(_plain(live), self._fault), _plain(monitor)
        connected_at = inf
        while True:
            poller = zmq.asyncio.Poller()
            for socket in (live, monitor, self._repetition and self._repetition.socket):
                if socket:
                    poller.register(socket, zmq.POLLIN)
            await poller.poll(1000 * max(0.0, self._deadline - self._clock()))
            match _connection_event(plain_monitor):
                case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._connected, connected_at = True, self._clock()
                    self._do(self._tracker.connected())
                case zmq.EVENT_DISCONNECTED:
                    while self._read_live(inbox):  # noqa: ASYNC110 - lets others run, waits for nothing
                        await asyncio.sleep(0)
                    self._connected = False
                    self._do(self._tracker.disconnected())
                    return self._clock() - connected_at
            self._read_live(inbox)
            self._read_replay()
            self._keep_time(context)
            await asyncio.sleep(0)

    def _read_live(self, inbox: _Inbox) -> bool:
        """Read live messages for one turn; returns whether there may be more."""
        try:
            for _ in self._turn():
                if message := inbox.take():
                    number, payload = message
                    self._do(self._tracker.receive(decode_sequence(number), payload))
                    if self._tracker.state is State.EXACT:
                        self._postpone_probe()  # Otherwise a busy source would never be mended.
        except zmq.Again:
            return False
        return True

    def _read_replay(self) -> None:
        repetition = self._repetition
        if not repetition or not repetition.socket:
            return
        socket = _plain(repetition.socket)
        for _ in self._turn():
            try:
                number, payload = _answer(socket)
            except zmq.Again:
                return
            except DecodeError as error:
                self._fault(error.reason, str(error))
                self._fail(f"the replay endpoint answered something else: {error}")
                return
            if number is None:
                self._stop_replay()
                self._postpone_probe()
                self._do(self._tracker.replay_ended())
            else:
                repetition.idle_until = self._clock() + self._options.replay_idle_timeout_s
                self._do(self._tracker.replayed(number, payload))
            if self._repetition is not repetition:
                return

    def _turn(self) -> Iterator[None]:
        """Allow one message after the other until it is time for other tasks."""
        until = self._clock() + self._options.turn_s
        yield
        while self._clock() < until:
            yield

    @property
    def _deadline(self) -> float:
        return self._repetition.deadline if self._repetition else self._probe_at

    def _keep_time(self, context: Context) -> None:
        now, repetition = self._clock(), self._repetition
        if now < self._deadline:
            return
        if repetition is None:
            self._postpone_probe()
            if self._connected:
                self._do(self._tracker.probe())
        elif repetition.socket is None:
            self._ask(context, repetition)
        elif now >= repetition.total_until:
            self._fail(f"the replay did not end within {self._options.replay_total_timeout_s:g} s")
        else:
            self._fail(f"no answer from the replay endpoint for {self._options.replay_idle_timeout_s:g} s")

    def _ask(self, context: Context, repetition: _Repetition) -> None:
        if self._replay_endpoint is None:
            self._fail("no replay endpoint")
            return
        now = self._clock()
        repetition.idle_until = now + self._options.replay_idle_timeout_s
        repetition.total_until = now + self._options.replay_total_timeout_s
        try:
            repetition.socket = self._socket(context, zmq.DEALER)
            repetition.socket.connect(self._replay_endpoint)
            _plain(repetition.socket).send_multipart([b"", encode_sequence(repetition.start)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._fail(f"cannot connect to {self._replay_endpoint}: {error}")

    def _fail(self, reason: str) -> None:
        self._stop_replay()
        self._do(self._tracker.replay_failed(reason))

    def _stop_replay(self) -> None:
        if self._repetition and self._repetition.socket:
            self._repetition.socket.close(linger=0)
        self._repetition = None

    def _postpone_probe(self) -> None:
        self._probe_at = self._clock() + self._options.probe_interval_s

    def _do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Deliver():
                    self._deliver(step)
                case Forget():
                    self._sink.forget(self._source, step.reason)
                case Replay():
                    self._stop_replay()
                    self._repetition = _Repetition(start=step.start, due=self._clock() + step.delay_s)

    def _deliver(self, step: Deliver) -> None:
        try:
            batch = decode(step.payload)
        except DecodeError as error:
            self._fault(error.reason, str(error))
            self._do(self._tracker.damaged(f"undecodable batch {step.sequence}"))
            return
        for skipped in batch.skipped:
            self._fault(skipped.reason, skipped.detail)
            # Engines add kinds of events that say nothing about blocks; one of a known kind is a loss.
            if skipped.reason != UNKNOWN_TAG:
                self._do(
                    self._tracker.damaged(f"unreadable event in batch {step.sequence}: {skipped.reason}")
                )
        self._sink.apply(self._source, batch)
        self._batches += 1
        self._events += len(batch.events)
        self._last_event_at = self._clock()

    def _fault(self, reason: str, detail: str) -> None:
        self._errors[reason] += 1
        if (held_back := self._limit.admit()) is not None:
            log.warning("%s: %s (%d more since the last such line)", self._source, detail, held_back)

    def _socket(self, context: Context, kind: int) -> zmq.asyncio.Socket:
        """A socket that keeps trying to connect, and lets go of a peer that died in silence."""
        options = self._options
        socket = context.socket(kind)
        socket.linger = 0
        socket.rcvhwm = _QUEUE
        socket.maxmsgsize = LIMITS.payload_bytes
        socket.ipv6 = True
        socket.reconnect_ivl = _milliseconds(options.reconnect_s)
        socket.reconnect_ivl_max = _milliseconds(options.reconnect_max_s)
        for option in (zmq.HEARTBEAT_IVL, zmq.HEARTBEAT_TIMEOUT, zmq.CONNECT_TIMEOUT, zmq.HANDSHAKE_IVL):
            socket.setsockopt(option, _milliseconds(options.heartbeat_s))
        return socket


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))


def _connection_event(monitor: zmq.Socket[bytes]) -> int | None:
    try:
        return int(parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["event"])
    except zmq.Again:
        return None


def _plain(socket: zmq.asyncio.Socket) -> zmq.Socket[bytes]:
    """The same socket for calls that do not wait, which cost a quarter of the asynchronous ones."""
    return zmq.Socket.shadow(socket.underlying)


def _answer(socket: zmq.Socket[bytes]) -> tuple[int | None, bytes]:
    """Take a number (None: the replay ended) and a payload. Raises DecodeError, and zmq.Again when empty."""
    frames: list[bytes] = []
    more = True
    while more and len(frames) <= _ANSWER_FRAMES[-1]:
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        frames.append(frame.bytes)
        more = frame.more
    if len(frames) not in _ANSWER_FRAMES:
        least = "at least " if more else ""
        raise DecodeError("replay_frames", f"{least}{len(frames)} frame(s)")
    *_, number, payload = frames
    return None if number == END_SEQUENCE else decode_sequence(number), payload
