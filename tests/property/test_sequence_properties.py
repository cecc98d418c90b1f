"""The tracker against a model publisher that drops, repeats, reorders and restarts, also while it replays."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync.sequence import Deliver, Forget, Replay, SequenceTracker, State, Step

Frame = tuple[int, bytes]

CLEAR = b"clear"
"""What the content of a frame ends with that empties the publisher's cache."""

QUEUE = 2
"""Messages that the publisher keeps for one who does not read fast enough."""


@dataclass
class World:
    """A publisher with a ring, a lossy channel, and what the tracker made a subscriber do.

    Of an answer to a replay its queue takes the first `QUEUE` messages, and of those after them what `drops`
    says, the end marker among them; one that is lost is asked for again, as a subscriber does.
    """

    ring_size: int
    tracker: SequenceTracker = field(default_factory=lambda: SequenceTracker(fits=QUEUE))
    drops: Iterator[bool] = field(default_factory=lambda: repeat(False))
    life: int = 0
    published: list[Frame] = field(default_factory=list)
    held: list[Frame] = field(default_factory=list)
    delivered: list[Frame] = field(default_factory=list)
    pending: Replay | None = None
    forgotten: int = 0
    came_live: bool = False

    def take(self, steps: list[Step]) -> None:
        """Do what the tracker says, as a subscriber would."""
        for step in steps:
            match step:
                case Deliver(sequence, payload):
                    self.delivered.append((sequence, payload))
                    if payload.endswith(CLEAR):
                        self.tracker.cleared(sequence)
                case Forget():
                    self.delivered.clear()
                    self.forgotten += 1
                case Replay():
                    self.pending, self.came_live = step, False

    def live(self, frame: Frame) -> None:
        """Let a frame arrive on the live stream."""
        self.came_live = True
        number, payload = frame
        if self.tracker.follow([number], [payload]):
            self.take([Deliver(number, payload)])
        else:
            self.take(self.tracker.receive(number, payload))

    def publish(self, fate: str, ending: bytes = b"") -> None:
        """Publish the next frame, which the channel treats as `fate` says."""
        content = f"life {self.life} frame {len(self.published)}".encode() + ending
        frame = (len(self.published), content)
        self.published.append(frame)
        if fate == "hold":
            self.held.append(frame)
        if fate in ("pass", "repeat"):
            self.live(frame)
        if fate == "repeat":
            self.live(frame)

    def restart(self, seen: bool) -> None:
        """Start the publisher anew; the connection breaks when `seen`."""
        self.life += 1
        self.published = []
        if seen:
            self.held.clear()
            self.disconnect()
            self.connect()
        elif self.ring_size < 100:  # with a ring this short nothing else would tell the lives apart
            self.publish("pass")

    def connect(self) -> None:
        """Connect, or connect again."""
        self.take(self.tracker.connected())

    def disconnect(self) -> None:
        """Lose the connection with the replay that runs on it."""
        self.pending = None
        self.take(self.tracker.disconnected())

    def ring(self) -> list[Frame]:
        """Return what the publisher can still replay."""
        return self.published[-self.ring_size :]

    def answer(self, count: int | None = None) -> None:
        """Answer the replay asked for: all of it, or `count` frames and then nothing more."""
        request, self.pending = self.pending, None
        if request is None:
            return
        asked = self.tracker.counters.replays
        frames = [frame for frame in self.ring() if frame[0] >= request.start]
        for frame in [frame for frame in frames[:count] if not self.is_lost(frame, frames)]:
            self.take(self.tracker.replayed(*frame))
            if self.tracker.counters.replays > asked:
                return  # the tracker asked anew: the rest of this answer goes nowhere
        if count is None:
            end_is_lost = len(frames) >= QUEUE and next(self.drops)
            self.take(self.tracker.replay_ended(complete=not end_is_lost))
            if self.life == 0 and self.tracker.state is State.EXACT and self.pending is None:
                end = 0 if self.tracker.last is None else self.tracker.last + 1
                assert since_clear(self.delivered) == since_clear(self.published[:end])
                assert self.came_live or end == len(self.published)
        else:
            self.take(self.tracker.replay_failed("no end"))

    def is_lost(self, frame: Frame, answer: list[Frame]) -> bool:
        """Say whether the publisher drops a frame of its answer."""
        return frame[0] >= answer[0][0] + QUEUE and next(self.drops)

    def settle(self) -> None:
        """Let everything on its way arrive, then probe until the probes change nothing."""
        while self.held:
            self.live(self.held.pop())
        if self.tracker.state is State.BLIND:
            self.connect()
        for _ in range(4):
            for _ in range(20):
                self.answer()
            self.take(self.tracker.probe())
        self.answer()


fates = st.sampled_from(["pass", "pass", "pass", "drop", "repeat", "hold"])
losses = st.lists(st.booleans(), max_size=60).map(lambda drops: chain(drops, repeat(True)))
actions = st.one_of(
    st.tuples(st.just("publish"), fates),
    st.tuples(st.just("publish"), fates),
    st.tuples(st.just("publish"), fates),
    st.tuples(st.just("release"), st.just(0)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("disconnect"), st.just(0)),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("answer"), st.none() | st.integers(0, 3)),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("probe"), st.just(0)),
)


def play(world: World, script: list[tuple[str, object]]) -> None:
    """Let the actions happen, and check what must hold at every moment."""
    for action in script:
        match action:
            case ("publish", str(fate)):
                world.publish(fate)
            case ("clear", str(fate)):
                world.publish(fate, CLEAR)
            case ("release", _) if world.held:
                world.live(world.held.pop(0))
            case ("restart", bool(seen)):
                world.restart(seen)
            case ("disconnect", _):
                world.disconnect()
            case ("connect", _):
                world.connect()
            case ("answer", None):
                world.answer()
            case ("answer", int(count)):
                world.answer(count)
            case ("probe", _):
                world.take(world.tracker.probe())
        numbers = [number for number, _ in world.delivered]
        assert numbers == sorted(set(numbers))
        assert world.tracker.last == (numbers[-1] if numbers else None)


@settings(deadline=None, max_examples=200, database=None)
@given(ring_size=st.sampled_from([3, 1000]), script=st.lists(actions, max_size=40), drops=losses)
def test_at_rest_everything_of_this_life_was_delivered_once(
    ring_size: int, script: list[tuple[str, object]], drops: Iterator[bool]
) -> None:
    """Whatever happened, a quiet source ends with the frames of the publisher's present life, in order."""
    world = World(ring_size, drops=drops)
    world.connect()
    play(world, script)
    world.settle()

    ring = world.ring()
    assert world.delivered[len(world.delivered) - len(ring) :] == ring
    assert all(frame in world.published for frame in world.delivered)
    assert (world.tracker.state is State.EXACT) == (world.delivered == world.published)
    assert (world.tracker.reason == "") == (world.tracker.state is State.EXACT)


@settings(deadline=None, max_examples=60, database=None)
@given(script=st.lists(actions.filter(lambda action: action[0] != "restart"), max_size=40), drops=losses)
def test_without_restarts_nothing_is_forgotten_for_good(
    script: list[tuple[str, object]], drops: Iterator[bool]
) -> None:
    """Loss, repetition, reordering and reconnection are all mended by a ring that holds everything."""
    world = World(1000, drops=drops)
    world.connect()
    play(world, script)
    world.settle()

    assert world.delivered == world.published
    assert world.tracker.state is State.EXACT
    assert world.tracker.counters.restarts == 0


answered = actions.filter(lambda action: action[0] not in ("restart", "answer") or action[1] is None)


@settings(deadline=None, max_examples=100, database=None)
@given(script=st.lists(answered, max_size=60), drops=losses)
def test_what_the_ring_agrees_with_is_never_forgotten(
    script: list[tuple[str, object]], drops: Iterator[bool]
) -> None:
    """However much of its answers a publisher drops, each brings something, and nothing has to go for it."""
    world = World(1000, drops=drops)
    world.connect()
    play(world, script)
    world.settle()

    assert world.delivered == world.published
    assert world.tracker.state is State.EXACT
    assert world.forgotten == 0


def since_clear(frames: list[Frame]) -> list[Frame]:
    """Return the frames that say what the cache holds: those from the last that emptied it on, or all."""
    clears = [place for place, (_, content) in enumerate(frames) if content.endswith(CLEAR)]
    return frames[clears[-1] :] if clears else frames


@settings(deadline=None, max_examples=150, database=None)
@given(
    ring_size=st.sampled_from([3, 1000]),
    script=st.lists(st.one_of(actions, actions, st.tuples(st.just("clear"), fates)), max_size=40),
    drops=losses,
)
def test_a_source_is_exact_from_a_clear_on(
    ring_size: int, script: list[tuple[str, object]], drops: Iterator[bool]
) -> None:
    """At rest it is EXACT if, and only if, it has every frame since the cache was emptied the last time."""
    world = World(ring_size, drops=drops)
    world.connect()
    play(world, script)
    world.settle()

    complete = since_clear(world.delivered) == since_clear(world.published)
    assert (world.tracker.state is State.EXACT) == complete
