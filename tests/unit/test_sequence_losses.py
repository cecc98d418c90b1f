"""The tracker when answers to replays lose frames, or their end, because the publisher's queue is full."""

import pytest

from kvsync.sequence import (
    MAX_ROUNDS,
    MAX_WAITING_BYTES,
    WINDOW,
    Deliver,
    Replay,
    SequenceTracker,
    State,
    Step,
)


def frame(number: int) -> bytes:
    """Return the content of a frame."""
    return f"x{number}".encode()


def delivered(*numbers: int, replayed: bool = False) -> list[Step]:
    """Return the steps that deliver frames."""
    return [Deliver(number, frame(number), replayed) for number in numbers]


def answer(tracker: SequenceTracker, *numbers: int) -> list[Step]:
    """Let frames of the running replay arrive; returns all steps."""
    return [step for number in numbers for step in tracker.replayed(number, frame(number))]


def connected(fits: int = 500) -> SequenceTracker:
    """Return a tracker that has just asked for everything."""
    tracker = SequenceTracker(fits=fits)
    assert tracker.connected() == [Replay(0)]
    return tracker


def exact(*numbers: int) -> SequenceTracker:
    """Return a tracker that is exact after a first replay of these frames."""
    tracker = connected()
    answer(tracker, *numbers)
    tracker.replay_ended()
    assert tracker.state is State.EXACT
    return tracker


def test_frames_behind_a_hole_are_kept_and_the_hole_is_asked_for() -> None:
    """Each answer leaves less to ask for."""
    tracker = connected()

    assert answer(tracker, 0, 1, 4, 5) == delivered(0, 1, replayed=True)
    assert tracker.replay_ended() == [Replay(1)]
    assert answer(tracker, 1, 2) == delivered(2, replayed=True)
    assert tracker.replay_ended(complete=False) == [Replay(2)]
    assert answer(tracker, 2, 3, 4, 5) == delivered(3, 4, 5, replayed=True)
    assert tracker.replay_ended() == []
    assert (tracker.state, tracker.last) == (State.EXACT, 5)
    assert (tracker.counters.replays, tracker.counters.replay_failures) == (3, 0)


def test_frame_behind_a_hole_with_other_content_is_a_restart() -> None:
    """It is compared with the one that waits."""
    tracker = exact(0)
    tracker.receive(3, frame(3))
    answer(tracker, 0)
    tracker.replayed(3, b"other")

    assert tracker.counters.restarts == 1


def test_lost_end_is_not_taken_for_the_end_of_the_ring() -> None:
    """Another answer has to end at the same frame before the source is exact."""
    tracker = connected()
    answer(tracker, 0, 1)

    states = [tracker.state]
    assert tracker.replay_ended(complete=False) == [Replay(1)]
    states.append(tracker.state)
    answer(tracker, 1)
    assert tracker.replay_ended(complete=False) == []
    assert [*states, tracker.state] == [State.CATCHING_UP, State.CATCHING_UP, State.EXACT]


def test_end_of_a_long_answer_is_confirmed() -> None:
    """Its last frames may have been dropped before its end marker found room."""
    tracker = connected(fits=3)
    answer(tracker, 0, 1, 2)

    assert tracker.replay_ended() == [Replay(2)]
    assert answer(tracker, 2, 3) == delivered(3, replayed=True)
    assert tracker.replay_ended() == []
    assert tracker.state is State.EXACT


def test_live_frames_that_follow_on_confirm_the_end_of_an_answer() -> None:
    """A source that is behind is not asked for its ring again, which has moved on meanwhile."""
    tracker = connected(fits=3)
    tracker.receive(3, frame(3))
    answer(tracker, 0, 1, 2)

    assert tracker.replay_ended() == delivered(3)
    assert tracker.state is State.EXACT


def test_ring_that_moved_on_while_live_frames_come_is_no_loss() -> None:
    """The reader is behind: what the ring has lost meanwhile is on its way, or else leaves a gap."""
    tracker = exact(0)
    tracker.probe()
    tracker.receive(1, frame(1))

    assert answer(tracker, 50, 51) + tracker.replay_ended() == []
    assert tracker.receive(2, frame(2)) == delivered(2)
    assert (tracker.state, tracker.counters.truncated) == (State.EXACT, 0)
    assert tracker.receive(60, frame(60)) == [Replay(0)]
    assert [type(step).__name__ for step in answer(tracker, 50)] == ["Forget", "Deliver"]


def test_ring_that_moved_on_while_nothing_came_is_a_loss() -> None:
    """Frames that neither came nor can be replayed are gone."""
    tracker = exact(0)
    tracker.probe()

    assert [type(step).__name__ for step in answer(tracker, 50)] == ["Forget", "Deliver"]
    tracker.replay_ended()
    assert tracker.state is State.DEGRADED


def test_answer_cut_off_before_what_is_known_is_no_restart() -> None:
    """The ring of another life would disagree; this one agreed as far as it came."""
    tracker = exact(0)
    for number in range(1, 10):
        tracker.receive(number, frame(number))
    assert tracker.probe() == [Replay(0)]

    assert answer(tracker, 0, 1, 2, 3) == []
    assert tracker.replay_ended(complete=False) == [Replay(3)]
    assert answer(tracker, *range(3, 10)) == []
    assert tracker.replay_ended() == []
    assert (tracker.state, tracker.counters.restarts) == (State.EXACT, 0)


def test_ring_that_ends_too_early_again_and_again_is_a_restart() -> None:
    """However its answers end, a ring without the last frame is another one."""
    tracker = exact(0, 1)
    tracker.probe()

    assert [tracker.replay_ended(complete=False) for _ in range(3)] == [
        [Replay(1, 0.1)],
        [Replay(1, 0.2)],
        [Replay(1, 0.4)],
    ]
    assert tracker.counters.restarts == 0
    tracker.replay_ended(complete=False)
    assert tracker.counters.restarts == 1


def test_known_frames_are_progress_when_they_are_confirmed() -> None:
    """A publisher that keeps fewer messages than the overlap is long is led beyond it, step by step."""
    tracker = exact(0)
    for number in range(1, 8):
        tracker.receive(number, frame(number))
    tracker.receive(9, frame(9))
    starts: list[Step] = []
    for begin in (0, 2, 4):
        answer(tracker, begin, begin + 1, begin + 2)
        starts += tracker.replay_ended(complete=False)

    assert starts == [Replay(2), Replay(4), Replay(6)]
    assert answer(tracker, 6, 7, 8) == delivered(8, replayed=True)


def test_what_the_ring_agrees_with_is_not_forgotten() -> None:
    """When nothing beyond it arrives, the source is degraded and the next frame or probe tries again."""
    tracker = exact(0, 1)
    tracker.receive(3, frame(3))
    steps: list[Step] = []
    for _ in range(4):
        steps += answer(tracker, 1) + tracker.replay_failed("no end")

    assert steps == [Replay(1, 0.1), Replay(1, 0.2), Replay(1, 0.4)]
    assert (tracker.state, tracker.reason, tracker.last) == (State.DEGRADED, "not confirmed: no end", 1)
    assert tracker.receive(4, frame(4)) == [Replay(1)]


def test_answers_that_repeat_what_is_confirmed_are_no_progress() -> None:
    """A peer that sends the same frames whatever it is asked for, and no end, is not asked for ever."""
    tracker = connected()
    steps: list[Step] = []
    for _ in range(4):
        steps += answer(tracker, 0, 1) + tracker.replay_failed("no end")

    assert steps[2:] == [Replay(1, 0.1), Replay(1, 0.2), Replay(1, 0.4)]
    assert tracker.state is State.DEGRADED


def test_replays_in_a_row_are_bounded() -> None:
    """A publisher that gives one frame at a time is left alone until the next probe."""
    tracker = connected()
    asked = 1
    for number in range(MAX_ROUNDS + 1):
        answer(tracker, *range(max(0, number - 1), number + 1))
        asked += len(tracker.replay_ended(complete=False))

    assert asked == MAX_ROUNDS
    assert (tracker.state, tracker.last) == (State.DEGRADED, MAX_ROUNDS - 1)
    assert tracker.reason == f"not confirmed: {MAX_ROUNDS} replays in a row were cut off"
    assert tracker.probe() == [Replay(MAX_ROUNDS - 1)]


@pytest.mark.parametrize("number", [2, 5])
def test_live_frame_that_was_replayed_long_ago_is_a_duplicate(number: int) -> None:
    """One who is behind gets by replay what is still on its way, further back than any digest is kept."""
    tracker = exact(0)
    tracker.receive(1, frame(1))
    tracker.receive(WINDOW + 10, frame(WINDOW + 10))
    tracker.replay_failed("no answer")
    tracker.disconnected()
    tracker.connected()
    tracker.receive(1, frame(1))
    answer(tracker, *range(1, WINDOW + 10))
    tracker.replay_ended()

    assert tracker.receive(number, frame(number)) == [Replay(number)], "it is compared with the ring, once"
    answer(tracker, *range(number, WINDOW + 10))
    tracker.replay_ended()
    assert tracker.receive(number + 1, frame(number + 1)) == []
    assert (tracker.state, tracker.counters.restarts) == (State.EXACT, 0)
    assert [type(step).__name__ for step in tracker.receive(0, frame(0))] == ["Forget", "Replay"]


def test_waiting_frames_are_bounded_in_bytes() -> None:
    """The reader is told when to leave live frames where they are, and the room is given back."""
    tracker = exact(0)
    large = bytes(MAX_WAITING_BYTES // 2)
    full = [tracker.is_full]
    for number in (2, 3):
        tracker.receive(number, large)
        full.append(tracker.is_full)

    answer(tracker, 0, 1)
    assert [type(step) for step in tracker.replay_ended()] == [Deliver, Deliver]
    assert [*full, tracker.is_full] == [False, False, True, False]
