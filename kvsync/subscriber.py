"""Follow one publisher: sockets around the rules of sequence and codec.

Rules:

1. Each replay has a DEALER of its own, so answers to an earlier request never mix in. An answer that is not
   a replayed batch ends the replay as failed.
2. Nothing a peer sends ends the subscriber, and after `turn_s` of messages other tasks run. It is a time, not
   a number: 256 messages took 29 to 98 ms (measured), in which a gateway routes nothing.
3. Each connection has sockets of its own: libzmq reconnects in silence, and not at all after an oversized
   message or other violations of its protocol (seen with 4.3.5).
4. Live messages are left where they are while too many wait for a replay: their sockets' queues lose nothing
   until they are full, and then what is newest, which a replay brings.
5. The end of an answer can be lost. While a replay is silent, a request for frames that cannot exist asks for
   an end marker alone; it comes after everything that is still on its way.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import zmq

from kvsync.codec import UNKNOWN_TAG, decode, encode_sequence
from kvsync.config import SubscriberOptions
from kvsync.connection import Alarm, Connection, Context, Line, Link
from kvsync.errors import ConfigError, DecodeError
from kvsync.events import AllBlocksCleared, Event, Source
from kvsync.ratelimit import RateLimit
from kvsync.sequence import Deliver, Forget, Memory, Replay, Restore, SequenceTracker, State, Step
from kvsync.sources.inbox import LiveInbox, Tap, take_answer
from kvsync.sources.inspection import Inspection
from kvsync.sources.journal import Journal
from kvsync.sources.sink import Intake, Sink, Take
from kvsync.sources.status import SourceStatus

log = logging.getLogger(__name__)

_MAX_SOCKETS = 65_535
"""libzmq's own limit; each source takes nine, and the default of 1023 would end at 113 sources."""

BEHIND_AFTER_S = 1.0
"""Time without having read everything that had arrived, after which a source is not EXACT any more."""

_PINGS = 8
"""How often a replay that is silent is asked for its end, before it is taken for dead."""

_PATIENCE_S = 60.0
"""For how long a publisher that has not answered yet is waited for at most."""

_BEHIND = "more events have arrived than were read"

_NO_FRAME = 2**63 - 1
"""A number that no frame has: a replay from there is an end marker."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier process knew. `restore` puts it where events go, as soon as the publisher proved that
    it is still the same, and returns why not all that it announced is held, if that is so."""

    memory: Memory
    restore: Callable[[], str]


@contextmanager
def open_context() -> Iterator[Context]:
    """Sockets for many subscribers, with one I/O thread; what is still open at the end is closed."""
    context = Context()
    context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)
    try:
        yield context
    finally:
        context.destroy(linger=0)


@dataclass(slots=True, kw_only=True)
class _Repetition:
    """A replay that is asked for at `due` or, once it has a line, runs until a deadline.

    `pings` says how many end markers were asked for alone; the next is at `ping_at`.
    """

    start: int
    due: float
    total_until: float
    idle_until: float = 0.0
    ping_at: float = 0.0
    pings: int = 0
    frames: int = 0
    idle_s: float = 0.0
    line: Line | None = None
    is_inspected: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether the request has reached the peer."""
        return self.line is not None and self.line.look() is Link.UP

    @property
    def deadline(self) -> float:
        return self.due if self.line is None else min(self.ping_at, self.idle_until, self.total_until)

    def listen(self, now: float, idle_timeout_s: float) -> None:
        """Begin a time in which the peer may be silent."""
        self.idle_s = idle_timeout_s
        self.idle_until, self.ping_at = now + idle_timeout_s, now + idle_timeout_s / _PINGS

    def ask(self, start: int) -> None:
        """Ask for what is in the ring from `start` on. Raises zmq.ZMQError when that cannot be sent."""
        assert self.line
        self.line.send([b"", encode_sequence(start)])


class Subscriber:
    """One publisher's events: decoded, in order and without gaps, or else its state says so."""

    def __init__(
        self,
        source: Source,
        *,
        endpoint: str,
        replay_endpoint: str | None,
        sink: Sink,
        take: Take | None = None,
        tap: Tap | None = None,
        options: SubscriberOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        context: Context | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self._source = source
        self._endpoint = endpoint
        self._replay_endpoint = replay_endpoint
        self._sink = sink
        self._take = take or _take_nothing
        self._tap = tap
        self._options = options or SubscriberOptions()
        self._clock = clock
        self._context = context
        self._inspection, self._replay_inspection = (
            Inspection(where, self._note, replays=replays, patience_s=self._options.heartbeat_s)
            for where, replays in ((endpoint, False), (replay_endpoint or "", True))
        )
        self._silences = 0  # requests in a row that a publisher took and did not answer
        self._flaw = ""
        self._doubts: dict[str, str] = {}
        where = f"{endpoint} (replays: {replay_endpoint or 'none'})"
        self._journal = Journal(source, where, self._options.log_interval_s, clock)
        self._remembered, memory = remembered, remembered.memory if remembered else None
        self._tracker = SequenceTracker(replays=replay_endpoint is not None, memory=memory)
        self._limit = RateLimit(self._options.log_interval_s, clock)
        self._errors: Counter[str] = Counter()
        self._batches = self._events = 0
        self._connected = False
        self._has_more = False
        self._caught_up_at = clock()
        self._last_event_at: float | None = None
        self._probe_at = clock() + self._options.probe_interval_s
        self._repetition: _Repetition | None = None
        self._alarm = Alarm()

    @property
    def state(self) -> State:
        """How far the sink's picture of this source can be trusted now."""
        return self._verdict()[0]

    @property
    def batches(self) -> int:
        """How many batches were applied."""
        return self._batches

    @property
    def memory(self) -> Memory | None:
        """What of this source can outlive the process, with what its sink holds now."""
        return self._tracker.memory

    @property
    def _behind_s(self) -> float:
        return self._clock() - self._caught_up_at if self._has_more else 0.0

    @property
    def status(self) -> SourceStatus:
        """A snapshot."""
        tracker, at, behind_s = self._tracker, self._last_event_at, self._behind_s
        state, reason = self._verdict()
        return SourceStatus(
            source=self._source,
            endpoint=self._endpoint,
            replay_endpoint=self._replay_endpoint,
            state=state,
            reason=f"{reason}, for {behind_s:.0f} s" if reason is _BEHIND else reason,
            last=tracker.last,
            live=tracker.live,
            last_event_age_s=None if at is None else self._clock() - at,
            connected=self._connected,
            behind_s=behind_s,
            counters=tracker.counters,
            errors=dict(self._errors),
            batches=self._batches,
            events=self._events,
        )

    def doubt(self, by: str, reason: str) -> None:
        """Say why the picture is not to be called EXACT although all frames came; an empty reason ends it."""
        if reason:
            self._doubts[by] = reason
        else:
            self._doubts.pop(by, None)
        self._note()

    def _verdict(self) -> tuple[State, str]:
        """What frames and their content together say, and why."""
        state, reason = self._tracker.state, self._tracker.reason
        flaws = [self._flaw, *self._doubts.values()] if self._flaw or self._doubts else []
        match state:
            case State.EXACT if self._behind_s > BEHIND_AFTER_S:
                return State.CATCHING_UP, _BEHIND
            case State.EXACT | State.DEGRADED if flaws:
                return State.DEGRADED, "; ".join(filter(None, [reason, *flaws]))
            case State.CATCHING_UP if self._replay_inspection.problem:
                return state, f"{reason}; {self._replay_inspection.problem}"
            case State.BLIND:
                return state, self._inspection.problem or reason
        return state, reason

    def _note(self) -> None:
        """Write a change of the state down."""
        if not self._inspection.is_running:  # Then the cause is not known yet.
            self._journal.note(*self._verdict(), is_trouble=bool(self._replay_inspection.problem))

    async def run(self) -> None:
        """Follow the publisher until cancelled. Raises ConfigError when no socket can be made for it."""
        options, delay_s = self._options, self._options.reconnect_s
        with ExitStack() as stack:
            context = self._context or stack.enter_context(open_context())
            stack.callback(self._inspection.stop)
            stack.callback(self._replay_inspection.stop)
            stack.callback(self._alarm.close)
            while True:
                if await self._connection(context) > options.reconnect_max_s:
                    delay_s = options.reconnect_s
                self._inspection.start()
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, options.reconnect_max_s)

    async def _connection(self, context: Context) -> float:
        """Wait for a connection and stay until it is lost; returns how many seconds it lasted."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(
                    Connection(context, self._endpoint, self._options, self._alarm)
                )
            except zmq.ZMQError as error:
                raise ConfigError(
                    str(self._source), [f"cannot connect to {self._endpoint}: {error}"]
                ) from error
            stack.callback(self._stop_replay)
            # A name that cannot be resolved is not reported. Two lines connect and shake hands.
            look_at = self._clock() + self._options.heartbeat_s
            patience_until = self._clock() + 4 * self._options.heartbeat_s
            while (link := connection.look()) is Link.CONNECTING and (now := self._clock()) < patience_until:
                if now >= look_at:
                    look_at = patience_until
                    self._inspection.start()
                await self._alarm.wait(min(look_at, patience_until) - now)
            if link is not Link.UP:
                return 0.0
            return await self._follow(context, connection)

    async def _follow(self, context: Context, connection: Connection) -> float:
        inbox, connected_at = LiveInbox(connection.live, self._fault, self._tap), self._clock()
        self._inspection.stop()
        self._note()  # if it was lost for so short a time that the cause was not found
        self._connected, self._caught_up_at, self._silences = True, connected_at, 0
        self._do(self._tracker.connected())
        while connection.look() is Link.UP:
            is_held = self._tracker.is_full
            self._has_more = not is_held and self._read_live(inbox)
            is_unread = self._read_replay() or self._has_more
            self._keep_time(context)
            self._note()
            is_unread |= is_held and not self._tracker.is_full
            # An idle source looks now and then, or its idle time would count as time without reading.
            patience_s = 0.0 if is_unread else min(self._deadline - self._clock(), BEHIND_AFTER_S / 2)
            await self._alarm.wait(patience_s)
        while self._read_live(inbox):  # noqa: ASYNC110 - lets others run, waits for nothing
            await asyncio.sleep(0)
        self._connected = False
        self._replay_inspection.stop()
        self._do(self._tracker.disconnected())
        return self._clock() - connected_at

    def _read_live(self, inbox: LiveInbox) -> bool:
        """Read live messages for one turn; returns whether there may be more."""
        has_more = has_read = False
        for _ in self._turn():
            numbers, payloads, has_more = inbox.take_some()
            has_read |= bool(numbers)
            self._receive(numbers, payloads)
            if not has_more:
                self._caught_up_at = self._clock()
                break
        if has_read and self._tracker.state is State.EXACT:
            self._postpone_probe()  # Otherwise a busy source would never be mended.
        return has_more

    def _receive(self, numbers: Sequence[int], payloads: Sequence[bytes]) -> None:
        """Do what live frames mean; those that are simply the next, together."""
        while numbers:
            if count := self._tracker.follow(numbers, payloads):
                self._deliver(numbers[0], payloads[:count])
            else:
                count = 1
                self._do(self._tracker.receive(numbers[0], payloads[0]))
            numbers, payloads = numbers[count:], payloads[count:]

    def _read_replay(self) -> bool:
        """Read answers for one turn; returns whether there may be more."""
        repetition = self._repetition
        if not repetition or not repetition.line:
            return False
        for _ in self._turn():
            try:
                number, payload = take_answer(repetition.line.socket, self._tap)
            except zmq.Again:
                if repetition.line.look() is Link.OVER:
                    self._reopen(repetition)
                return False
            except DecodeError as error:
                self._fault(error.reason, str(error))
                self._fail(f"the replay endpoint answered something else: {error}")
                return False
            self._silences = 0
            self._replay_inspection.stop()
            if number is None:
                self._stop_replay()
                self._postpone_probe()
                self._do(self._tracker.replay_ended(complete=not repetition.pings))
            else:
                repetition.frames += 1
                repetition.listen(self._clock(), self._options.replay_idle_timeout_s)
                self._do(self._tracker.replayed(number, payload))
            if self._repetition is not repetition:
                return False
        return True

    def _reopen(self, repetition: _Repetition) -> None:
        """Try a replay endpoint that cannot be reached again, as long as it may be silent."""
        self._stop_replay()
        repetition.line, repetition.due = None, self._clock() + self._options.reconnect_s
        self._repetition = repetition
        self._inspect(repetition)
        if repetition.frames:
            self._fail("the replay endpoint broke off partway")

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
        if repetition and self._replay_inspection.is_wrong:
            self._fail(self._replay_inspection.problem)
            return
        if now < self._deadline:
            return
        if repetition is None:
            self._postpone_probe()
            if self._connected:
                self._do(self._tracker.probe())
        elif now >= repetition.total_until:
            self._fail(f"the replay did not end within {self._options.replay_total_timeout_s:g} s")
        elif now >= repetition.idle_until:
            self._silences += not repetition.frames and repetition.is_asked
            self._fail(
                self._replay_inspection.problem
                or f"no answer from the replay endpoint for {repetition.idle_s:g} s"
            )
        elif repetition.line is None:
            self._ask(context, repetition)
        else:
            self._ping(repetition)

    def _repeat(self, step: Replay) -> _Repetition:
        due = self._clock() + step.delay_s
        idle_s = self._options.replay_idle_timeout_s
        repetition = _Repetition(
            start=step.start, due=due, total_until=due + self._options.replay_total_timeout_s
        )
        # A publisher answers one request after the other, those that were given up as well.
        repetition.listen(due, min(idle_s * 2**self._silences, max(idle_s, _PATIENCE_S)))
        return repetition

    def _inspect(self, repetition: _Repetition) -> None:
        """Find out what listens at the replay endpoint, once for each request."""
        if not repetition.is_inspected:
            repetition.is_inspected = True
            self._replay_inspection.start()

    def _ask(self, context: Context, repetition: _Repetition) -> None:
        if self._replay_endpoint is None:
            self._fail("no replay endpoint")
            return
        try:
            repetition.line = Line(context, zmq.DEALER, self._replay_endpoint, self._options, self._alarm)
            repetition.ask(repetition.start)
        except zmq.ZMQError as error:
            self._fail(f"cannot connect to {self._replay_endpoint}: {error}")

    def _ping(self, repetition: _Repetition) -> None:
        repetition.ping_at = self._clock() + self._options.replay_idle_timeout_s / _PINGS
        if not repetition.is_asked:
            self._inspect(repetition)
        if repetition.frames:  # a first one is never lost
            repetition.pings += 1
            with suppress(zmq.Again):
                repetition.ask(_NO_FRAME)

    def _fail(self, reason: str) -> None:
        self._stop_replay()
        self._replay_inspection.is_wrong = False  # It is looked at again with the next request.
        self._do(self._tracker.replay_failed(reason))

    def _stop_replay(self) -> None:
        if self._repetition and self._repetition.line:
            self._repetition.line.close()
        self._repetition = None

    def _postpone_probe(self) -> None:
        self._probe_at = self._clock() + self._options.probe_interval_s

    def _do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Deliver():
                    self._deliver(step.sequence, [step.payload])
                case Restore():
                    assert self._remembered
                    self._flaw, self._remembered = self._remembered.restore(), None
                case Forget():
                    self._flaw, self._remembered = "", None
                    self._sink.forget(self._source, step.reason)
                case Replay():
                    self._stop_replay()
                    self._repetition = self._repeat(step)

    def _deliver(self, number: int, payloads: Sequence[bytes]) -> None:
        """Apply frames, of which the first has this number."""
        while payloads:
            received, count = self._take(self._source, payloads) or self._read(number, payloads[0]), 1
            if received:
                events, self._flaw, count = received
                self._batches += count
                self._events += events
                self._last_event_at = self._clock()
            number, payloads = number + count, payloads[count:]

    def _read(self, number: int, payload: bytes) -> Intake | None:
        try:
            batch = decode(payload)
        except DecodeError as error:
            self._fault(error.reason, str(error))
            self._tracker.damaged(f"undecodable batch {number}")
            return None
        if any(map(_is_clearing, batch.events)):
            self._tracker.cleared(number)
        for skipped in batch.skipped:
            self._fault(skipped.reason, skipped.detail)
            # Engines add kinds of events that say nothing about blocks; one of a known kind is a loss.
            if skipped.reason != UNKNOWN_TAG:
                self._tracker.damaged(f"unreadable event in batch {number}: {skipped.reason}")
        return Intake(len(batch.events), self._sink.apply(self._source, batch) or "")

    def _fault(self, reason: str, detail: str) -> None:
        self._errors[reason] += 1
        if (held_back := self._limit.admit()) is not None:
            log.warning("%s: %s (%d more since the last such line)", self._source, detail, held_back)


def _take_nothing(source: Source, payloads: Sequence[bytes]) -> None:
    """Decode every message."""


def _is_clearing(event: Event) -> bool:
    return isinstance(event, AllBlocksCleared)
