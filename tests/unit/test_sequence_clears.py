"""The tracker when the publisher's cache is emptied: what was lost before that is made up for."""

import pytest

from kvsync.sequence import SequenceTracker, State
from tests.unit.test_sequence_recovery import frame, given_up, replay


def truncated() -> SequenceTracker:
    """Return a tracker of a publisher whose ring began at frame 7 and ended at frame 8."""
    tracker = SequenceTracker()
    tracker.connected()
    replay(tracker, 7, 8)
    assert tracker.state is State.DEGRADED
    return tracker


def test_a_clear_on_the_live_stream_makes_a_truncated_source_exact() -> None:
    """Nothing of what the ring had lost is in the cache any more, so everything is known."""
    tracker = truncated()
    tracker.receive(9, frame(9))
    tracker.cleared(9)

    assert (tracker.state, tracker.reason) == (State.EXACT, "")
    tracker.receive(10, frame(10))
    assert tracker.state is State.EXACT


def test_a_clear_in_the_ring_counts_when_the_replay_has_ended() -> None:
    """One who joins after the ring has wrapped is exact if the ring holds a clear."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.replayed(7, frame(7))
    tracker.replayed(8, frame(8))
    tracker.cleared(8)
    tracker.replayed(9, frame(9))
    tracker.replay_ended()
    assert tracker.state is State.EXACT


def test_an_unreadable_frame_is_made_up_for() -> None:
    """The hole lies before the clear; no replay of everything is needed."""
    tracker = truncated()
    tracker.receive(9, frame(9))
    tracker.damaged("undecodable batch 9")
    tracker.receive(10, frame(10))
    tracker.cleared(10)

    assert tracker.state is State.EXACT
    assert tracker.probe()[0].start == 8  # type: ignore[union-attr]  # a replay is all that a probe asks for


def test_what_is_lost_after_a_clear_is_still_lost() -> None:
    """Of frames that were served with a hole between them, a clear before the hole says nothing."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.receive(5, frame(5))
    tracker.receive(7, frame(7))
    for _ in range(4):
        tracker.replay_failed("no answer")
    tracker.cleared(5)

    assert "frames are missing" in tracker.reason
    assert tracker.probe()[0].start == 0  # type: ignore[union-attr]
    replay(tracker, *range(8))
    assert tracker.state is State.EXACT


def test_a_clear_proves_nothing_without_a_ring_that_answered() -> None:
    """Frames after it may be lost without anyone telling; the next replay decides."""
    tracker = given_up(0, 1)
    tracker.cleared(1)
    states = [tracker.state]
    tracker.probe()
    replay(tracker, 0, 1)

    assert [*states, tracker.state] == [State.DEGRADED, State.EXACT]


@pytest.mark.parametrize("first", [0, 3])
def test_a_replay_that_was_to_mend_history_has_nothing_to_mend(first: int) -> None:
    """It was asked for before the clear, and its beginning is of no interest after it."""
    tracker = given_up(*range(5))
    tracker.probe()
    tracker.receive(5, frame(5))
    tracker.cleared(5)

    assert replay(tracker, *range(first, 6)) == []
    assert tracker.state is State.EXACT
