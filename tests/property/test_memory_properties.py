"""A tracker that goes on from what an earlier process remembered, against one that was never restarted."""

from dataclasses import dataclass
from itertools import chain, repeat

from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync.sequence import Memory, Restore, SequenceTracker, State, Step
from tests.property.test_sequence_properties import QUEUE, Frame, World, actions, fates, losses, since_clear


@dataclass
class Reborn(World):
    """A world whose gateway remembers at times what it knows, and is replaced by one that has only that."""

    saved: tuple[Memory, list[Frame]] | None = None
    restored: int = 0

    def take(self, steps: list[Step]) -> None:
        """Do what the tracker says, one step after the other."""
        for step in steps:
            if step == Restore():
                assert self.saved is not None
                assert not self.delivered, "something was delivered before the memory was proved"
                self.delivered = [*self.saved[1]]
                self.restored += 1
            super().take([step])

    def save(self) -> None:
        """Remember what is known now."""
        if memory := self.tracker.memory:
            self.saved = memory, [*self.delivered]

    def replace(self) -> None:
        """Let another gateway take over, which knows what was saved last."""
        self.disconnect()
        self.tracker = SequenceTracker(fits=QUEUE, memory=self.saved[0] if self.saved else None)
        self.delivered.clear()
        self.held.clear()
        self.connect()


def play(world: Reborn, script: list[tuple[str, object]]) -> None:
    """Let the actions happen."""
    for action in script:
        match action:
            case ("publish", str(fate)):
                world.publish(fate)
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
            case ("save", _):
                world.save()
            case ("replace", _):
                world.replace()
        numbers = [number for number, _ in world.delivered]
        assert numbers == sorted(set(numbers))


mortal = st.one_of(actions, st.tuples(st.sampled_from(["save", "replace", "replace"]), st.just(0)))


@settings(deadline=None, max_examples=200, database=None)
@given(ring_size=st.sampled_from([3, 1000]), script=st.lists(mortal, max_size=40), drops=losses)
def test_a_replaced_gateway_ends_with_the_publishers_present_life(
    ring_size: int, script: list[tuple[str, object]], drops: chain[bool]
) -> None:
    """Whatever was remembered of which life, a quiet source ends as without any restart of the gateway."""
    world = Reborn(ring_size, drops=drops)
    world.connect()
    play(world, script)
    world.settle()

    ring = world.ring()
    assert world.delivered[len(world.delivered) - len(ring) :] == ring
    assert all(frame in world.published for frame in world.delivered)
    assert (world.tracker.state is State.EXACT) == (world.delivered == world.published)


@settings(deadline=None, max_examples=100, database=None)
@given(
    before=st.integers(1, 8),
    between=st.integers(0, 6),
    restarts=st.booleans(),
    after=st.lists(fates, max_size=6),
)
def test_memory_counts_if_and_only_if_the_ring_still_has_its_last_frame(
    before: int, between: int, restarts: bool, after: list[str]
) -> None:
    """With a ring of three frames: restored and EXACT up to two frames later, thrown away beyond them.

    It is thrown away as well when the engine restarted in between, however many frames it published.
    """
    world = Reborn(3, drops=repeat(False))
    world.connect()
    world.answer()
    for _ in range(before):
        world.publish("pass")
    world.save()
    world.disconnect()
    if restarts:
        world.life, world.published = 1, []
    for _ in range(between):
        world.publish("drop")
    world.replace()
    for fate in after:
        world.publish(fate)
    reached = len(world.published)
    world.settle()

    proved = not restarts and reached - before <= 2
    assert world.restored == proved
    assert (world.delivered == world.published) == (proved or len(world.published) <= 3)
    assert since_clear(world.delivered)[-3:] == world.published[-3:]
    assert (world.tracker.state is State.EXACT) == (world.delivered == world.published)
