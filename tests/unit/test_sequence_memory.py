"""What an earlier process remembered of a publisher, and by what a tracker believes it."""

import pytest

from kvsync.sequence import (
    REMEMBERED,
    RETRIES,
    Deliver,
    Forget,
    Memory,
    Replay,
    Restore,
    SequenceTracker,
    State,
    Step,
)


def content(number: int, life: str = "x") -> bytes:
    """Return what a frame says in a life of its publisher."""
    return f"{life}{number}".encode()


def followed(*, until: int) -> Memory:
    """Return what a process remembers that followed a publisher to a frame."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.replay_ended()
    for number in range(until + 1):
        tracker.receive(number, content(number))
    memory = tracker.memory
    assert memory is not None
    return memory


def reborn(*, until: int = 100) -> SequenceTracker:
    """Return the connected tracker of a process that remembers frames up to `until`."""
    tracker = SequenceTracker(memory=followed(until=until))
    assert tracker.connected() == [Replay(until + 1 - REMEMBERED)]
    return tracker


def thrown_away(steps: list[Step]) -> str:
    """Return why the memory was thrown away, which must come before anything else."""
    assert isinstance(steps[0], Forget)
    assert steps[0].reason.startswith("what was remembered is thrown away: ")
    return steps[0].reason.partition(": ")[2]


def test_a_ring_that_holds_the_last_frame_proves_the_memory() -> None:
    """What was remembered is restored before the frames that followed on it; then the source is exact."""
    tracker = reborn()
    assert (tracker.state, tracker.last) == (State.CATCHING_UP, 100)
    assert "proof" in tracker.reason

    assert tracker.replayed(100, content(100)) == [Restore()]
    assert tracker.replayed(101, content(101)) == [Deliver(101, content(101), replayed=True)]
    assert tracker.replay_ended() == []
    assert tracker.state is State.EXACT


def test_the_memory_is_bounded() -> None:
    """Only the last frames can prove it, and it names no others."""
    memory = followed(until=3000)

    assert (memory.last, len(memory.digests)) == (3000, REMEMBERED)


def test_a_young_publisher_is_remembered() -> None:
    """One frame is enough."""
    assert len(followed(until=0).digests) == 1


@pytest.mark.parametrize("number", [37, 100, 60])
def test_another_content_of_a_frame_ends_it(number: int) -> None:
    """The engine restarted meanwhile and has published as much again."""
    tracker = reborn()

    reason = thrown_away(tracker.replayed(number, content(number, "y")))

    assert f"replayed frame {number} has other content" in reason
    assert tracker.last is None


def test_another_content_of_a_live_frame_ends_it() -> None:
    """The engine restarted meanwhile: a frame that the memory knows comes anew."""
    assert "live frame 99" in thrown_away(reborn().receive(99, content(99, "y")))


def test_a_ring_that_begins_later_ends_it() -> None:
    """What the engine did in between is not known, so neither is what it still holds."""
    steps = reborn().replayed(101, content(101))

    assert "the ring begins at frame 101" in thrown_away(steps)
    assert steps[1:] == [Deliver(101, content(101), replayed=True)]


def test_a_ring_that_ends_earlier_ends_it() -> None:
    """The engine restarted and has published less than before."""
    assert "its ring ends before frame 100" in thrown_away(reborn().replay_ended())


def test_a_frame_that_was_not_asked_for_proves_nothing() -> None:
    """A publisher that answers with older frames than wanted is not believed by them."""
    thrown_away(reborn().replayed(3, content(3)))


def test_a_publisher_that_never_answers_ends_it() -> None:
    """Without an answer the source is served on live frames, as if nothing had been remembered."""
    tracker = reborn()
    assert tracker.receive(101, content(101)) == []
    for _ in range(RETRIES):
        (step,) = tracker.replay_failed("no answer")
        assert isinstance(step, Replay)

    steps = tracker.replay_failed("no answer")

    assert thrown_away(steps) == "no answer"
    assert steps[1:] == [Deliver(101, content(101))]
    assert (tracker.state, "no answer" in tracker.reason) == (State.DEGRADED, True)


def test_a_live_frame_that_follows_on_proves_nothing() -> None:
    """It waits, also when a live frame beside it is known and the ring begins after both."""
    tracker = reborn()
    assert tracker.receive(100, content(100)) == []

    assert "the ring begins at frame 101" in thrown_away(tracker.replayed(101, content(101)))


def test_a_lost_connection_keeps_it() -> None:
    """It is proved by the next one."""
    tracker = reborn()
    tracker.disconnected()
    tracker.connected()

    assert tracker.replayed(100, content(100)) == [Restore()]


def test_what_is_not_proved_is_not_remembered_again() -> None:
    """A process that ends before its memory was proved leaves the older one as it is."""
    assert reborn().memory is None


def test_a_flaw_outlives_the_process() -> None:
    """History stays incomplete; before the ring may mend it, it proves the memory."""
    known = followed(until=100)
    flawed = Memory(last=100, digests=known.digests, flaw="undecodable batch 3", healable=True)
    tracker = SequenceTracker(memory=flawed)

    assert tracker.connected() == [Replay(101 - REMEMBERED)]
    tracker.replayed(100, content(100))
    tracker.replay_ended()

    assert (tracker.state, tracker.reason) == (State.DEGRADED, "undecodable batch 3")
    assert tracker.probe() == [Replay(0)]


def test_without_replays_nothing_is_remembered() -> None:
    """A publisher that repeats nothing can prove nothing, neither now nor later."""
    tracker = SequenceTracker(replays=False, memory=followed(until=5))
    tracker.connected()

    assert (tracker.last, tracker.memory) == (None, None)
