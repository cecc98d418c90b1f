"""The tracker when history is lost, replays fail, or a probe looks: what it serves and how it mends."""

import pytest

from kvsync.sequence import (
    MAX_WAITING,
    WINDOW,
    Counters,
    Deliver,
    Forget,
    Replay,
    SequenceTracker,
    State,
    Step,
)


def frame(number: int, life: str = "x") -> bytes:
    """Return the content of a frame in one life of the publisher."""
    return f"{life}{number}".encode()


def delivered(*numbers: int, life: str = "x", replayed: bool = False) -> list[Step]:
    """Return the steps that deliver frames."""
    return [Deliver(number, frame(number, life), replayed) for number in numbers]


def replay(tracker: SequenceTracker, *numbers: int, life: str = "x") -> list[Step]:
    """Answer the running replay with frames and the end marker; returns all steps."""
    steps = [step for number in numbers for step in tracker.replayed(number, frame(number, life))]
    return steps + tracker.replay_ended()


def exact(*numbers: int) -> SequenceTracker:
    """Return a tracker that is exact after a first replay of these frames."""
    tracker = SequenceTracker()
    tracker.connected()
    replay(tracker, *numbers)
    assert tracker.state is State.EXACT
    return tracker


def given_up(*numbers: int) -> SequenceTracker:
    """Return a tracker whose first replay was never answered, and which then saw these live frames."""
    tracker = SequenceTracker()
    tracker.connected()
    for _ in range(4):
        tracker.replay_failed("no answer")
    for number in numbers:
        tracker.receive(number, frame(number))
    assert tracker.state is State.DEGRADED
    return tracker


def test_truncated_first_replay_is_served_degraded() -> None:
    """When the ring lost the beginning, what is there is delivered and the state says so."""
    tracker = SequenceTracker()
    tracker.connected()

    assert replay(tracker, 7, 8) == delivered(7, 8, replayed=True)
    assert tracker.state is State.DEGRADED
    assert tracker.reason == "history before frame 7 is gone, until the engine clears its cache"
    assert tracker.counters.truncated == 1
    assert tracker.receive(9, frame(9)) == delivered(9)
    assert tracker.state is State.DEGRADED


@pytest.mark.parametrize("first", [2, 5])
def test_truncated_later_replay_forgets(first: int) -> None:
    """When the ring begins after the last frame delivered, removals may be lost and nothing is proved."""
    tracker = exact(0, 1)
    tracker.receive(9, frame(9))

    steps = tracker.replayed(first, frame(first))
    assert isinstance(steps[0], Forget)
    assert steps[1:] == delivered(first, replayed=True)
    replay(tracker, *range(first + 1, 10))
    assert (tracker.state, tracker.last) == (State.DEGRADED, 9)


def test_frames_that_wait_before_a_truncated_replay_are_not_delivered_after_it() -> None:
    """Order is kept when the ring begins after a frame that waits, also when that replay then fails."""
    tracker = exact(0)
    tracker.receive(4, frame(4))
    tracker.receive(9, frame(9))
    tracker.replayed(6, frame(6))

    steps = [step for _ in range(4) for step in tracker.replay_failed("no end")]
    assert [step for step in steps if isinstance(step, Deliver)] == delivered(9)


def test_lost_history_is_not_asked_for_again() -> None:
    """A ring that lost its beginning never gets it back: probes look at the tail only."""
    tracker = SequenceTracker()
    tracker.connected()
    replay(tracker, 7, 8)

    assert tracker.probe() == [Replay(8)]
    assert replay(tracker, 8) == []
    assert tracker.state is State.DEGRADED


def test_restart_makes_a_degraded_source_exact() -> None:
    """A new life has its whole history."""
    tracker = SequenceTracker()
    tracker.connected()
    replay(tracker, 7, 8)
    tracker.receive(0, frame(0, "y"))
    replay(tracker, 0, life="y")

    assert (tracker.state, tracker.reason) == (State.EXACT, "")


def test_unanswered_replay_is_repeated_and_then_given_up() -> None:
    """Retries wait twice as long each time; without an answer the source is served on live frames."""
    tracker = SequenceTracker()
    tracker.connected()

    assert tracker.replay_failed("no answer") == [Replay(0, 0.1)]
    assert tracker.replay_failed("no answer") == [Replay(0, 0.2)]
    assert tracker.replay_failed("no answer") == [Replay(0, 0.4)]
    assert tracker.replay_failed("no answer") == []
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "history is unknown: no answer")
    assert tracker.receive(41, frame(41)) == delivered(41)
    assert tracker.receive(42, frame(42)) == delivered(42)
    assert (tracker.state, tracker.counters.replay_failures) == (State.DEGRADED, 4)


def test_without_a_replay_endpoint_nothing_is_counted_as_a_replay() -> None:
    """Late frames get as much time as with replays, and the state says why; a probe has no one to ask."""
    tracker = SequenceTracker(replays=False)
    steps = tracker.connected()
    for _ in range(4):
        steps += tracker.replay_failed("no replay endpoint")

    assert steps == [Replay(0), Replay(0, 0.1), Replay(0, 0.2), Replay(0, 0.4)]
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "history is unknown: no replay endpoint")
    assert tracker.receive(7, frame(7)) == delivered(7)
    assert tracker.probe() == []
    assert tracker.counters == Counters()


def test_giving_up_delivers_what_waits() -> None:
    """On a first connection nothing was delivered, so there is nothing to forget."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.receive(7, frame(7))
    tracker.receive(5, frame(5))
    steps = [step for _ in range(4) for step in tracker.replay_failed("no answer")]

    assert steps[3:] == delivered(5, 7)
    assert tracker.state is State.DEGRADED


def test_giving_up_on_missing_frames_forgets() -> None:
    """A removal may be among the missing frames, so older entries cannot be kept."""
    tracker = exact(0, 1)
    tracker.receive(3, frame(3))
    steps = [step for _ in range(4) for step in tracker.replay_failed("no answer")][3:]

    assert isinstance(steps[0], Forget)
    assert steps[1:] == delivered(3)
    assert tracker.reason == "frames are missing: no answer"


def test_giving_up_without_missing_frames_keeps_entries() -> None:
    """When only the confirmation after a reconnection fails, nothing is known to be lost."""
    tracker = exact(0, 1)
    tracker.disconnected()
    tracker.connected()
    steps = [step for _ in range(4) for step in tracker.replay_failed("no answer")][3:]

    assert steps == []
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "not confirmed: no answer")
    assert tracker.receive(2, frame(2)) == delivered(2)
    assert tracker.probe() == [Replay(1)]
    assert replay(tracker, 1, 2) == []
    assert tracker.state is State.EXACT


def test_complete_replay_makes_a_given_up_source_exact() -> None:
    """The probe asks for everything; when the ring still has it, it replaces what was pieced together."""
    tracker = given_up(4, 5)

    assert tracker.probe() == [Replay(0)]
    assert tracker.receive(6, frame(6)) == delivered(6)
    steps = replay(tracker, *range(7))
    assert isinstance(steps[0], Forget)
    assert steps[1:] == delivered(*range(7), replayed=True)
    assert (tracker.state, tracker.reason) == (State.EXACT, "")


def test_restart_of_a_given_up_source_is_noticed() -> None:
    """A ring that ends before what was delivered live is that of a new life."""
    tracker = given_up(4, 5)
    tracker.probe()

    assert [type(step) for step in replay(tracker, 0, life="y")] == [Forget, Deliver, Forget, Replay]
    assert replay(tracker, 0, life="y") == delivered(0, life="y", replayed=True)
    assert (tracker.state, tracker.counters.restarts) == (State.EXACT, 1)


def test_complete_replay_that_breaks_off_is_continued() -> None:
    """Once it replaced what was there, a retry goes on from it instead of beginning again."""
    tracker = given_up(4)
    tracker.probe()
    tracker.replayed(0, frame(0))
    tracker.replayed(1, frame(1))
    tracker.replay_failed("no end")

    assert replay(tracker, 0, 1, 2, 3, 4) == delivered(2, 3, 4, replayed=True)
    assert tracker.state is State.EXACT


def test_truncated_replay_leaves_a_given_up_source_as_it_is() -> None:
    """When the probe finds the beginning gone, entries are kept and it is not asked for again."""
    tracker = given_up(4, 5)
    tracker.probe()

    assert replay(tracker, 3, 4, 5, 6) == delivered(6, replayed=True)
    assert (tracker.state, tracker.reason) == (
        State.DEGRADED,
        "history before frame 3 is gone, until the engine clears its cache",
    )
    assert tracker.probe() == [Replay(6)]


def test_given_up_source_that_never_published_becomes_exact() -> None:
    """An empty ring answers the question that was open."""
    tracker = given_up()
    tracker.probe()

    assert replay(tracker) == []
    assert tracker.state is State.EXACT


def test_probe_confirms_without_leaving_exact() -> None:
    """An idle source is asked whether its tail was lost, and stays exact meanwhile."""
    tracker = exact(0, 1)

    assert tracker.probe() == [Replay(1)]
    assert tracker.state is State.EXACT
    assert tracker.receive(2, frame(2)) == delivered(2)
    assert replay(tracker, 1) == []
    assert (tracker.state, tracker.counters.gaps) == (State.EXACT, 0)


def test_probe_finds_a_lost_tail() -> None:
    """The last frames published can be lost without a gap."""
    tracker = exact(0, 1)
    tracker.probe()

    assert replay(tracker, 1, 2, 3) == delivered(2, 3, replayed=True)
    assert (tracker.state, tracker.counters.gaps) == (State.EXACT, 1)


def test_unanswered_probe_ends_the_claim_of_exactness() -> None:
    """Who does not answer may have published more."""
    tracker = exact(0, 1)
    tracker.probe()
    for _ in range(4):
        tracker.replay_failed("no answer")

    assert tracker.state is State.DEGRADED
    assert tracker.receive(2, frame(2)) == delivered(2)


@pytest.mark.parametrize("state", [State.BLIND, State.CATCHING_UP])
def test_probe_waits_for_a_settled_source(state: State) -> None:
    """Without a connection, or while a replay runs, there is nothing to ask."""
    tracker = SequenceTracker()
    if state is State.CATCHING_UP:
        tracker.connected()

    assert tracker.probe() == []
    assert tracker.state is state


def test_restart_hidden_among_frames_in_order_is_found() -> None:
    """A new frame carried the number that was due; the next replay reaches back beyond it."""
    tracker = exact(0)
    tracker.receive(1, frame(1, "y"))

    assert tracker.probe() == [Replay(0)]
    assert [type(step) for step in tracker.replayed(0, frame(0, "y"))] == [Forget, Replay]


def test_frame_of_an_earlier_life_does_not_wait_for_ever() -> None:
    """A late frame far ahead of a ring that ends before it is dropped, and nothing is forgotten."""
    tracker = exact(0, 1)
    tracker.receive(9, frame(9, "old"))
    steps = [step for _ in range(4) for step in replay(tracker, 1)]

    assert steps == [Replay(1, 0.1), Replay(1, 0.2), Replay(1, 0.4)]
    assert (tracker.state, tracker.last, tracker.live) == (State.EXACT, 1, 1)
    assert tracker.receive(2, frame(2)) == delivered(2)


def test_hole_left_by_a_replay_is_asked_for_again() -> None:
    """Frames lost while a replay ran are asked for at once as long as there is progress."""
    tracker = exact(0)
    tracker.receive(2, frame(2))
    tracker.receive(5, frame(5))

    assert replay(tracker, 0, 1) == [*delivered(1, replayed=True), *delivered(2), Replay(1)]
    assert replay(tracker, 1, 2, 3, 4, 5) == delivered(3, 4, 5, replayed=True)
    assert tracker.state is State.EXACT


def test_replay_that_goes_back_counts_as_failed() -> None:
    """A replay whose numbers do not rise is not trusted further."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.replayed(0, frame(0))

    assert tracker.replayed(0, frame(0)) == [Replay(0, 0.1)]
    assert tracker.counters.replay_failures == 1


def test_waiting_frames_are_bounded() -> None:
    """Beyond the bound the newest is dropped and counted; a further replay brings it."""
    tracker = exact(0)
    for number in range(2, MAX_WAITING + 3):
        tracker.receive(number, frame(number))

    assert tracker.counters.buffered_dropped == 1
    assert replay(tracker, 0, 1)[-1] == Replay(MAX_WAITING + 2 - WINDOW)
    assert (tracker.last, tracker.live) == (MAX_WAITING + 1, MAX_WAITING + 2)


def test_unreadable_frame_degrades_until_history_is_replayed_readable() -> None:
    """The live copy may have been damaged on the way where the ring's is not."""
    tracker = exact(0, 1)
    tracker.damaged("undecodable batch 1")
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "undecodable batch 1")

    assert tracker.probe() == [Replay(0)]
    steps = replay(tracker, 0, 1)
    assert isinstance(steps[0], Forget)
    assert steps[1:] == delivered(0, 1, replayed=True)
    assert tracker.state is State.EXACT


def test_unreadable_ring_is_not_replayed_for_ever() -> None:
    """When the ring holds the same bytes, a few full replays are enough."""
    tracker = exact(0, 1)
    tracker.damaged("undecodable batch 0")
    starts = []
    for _ in range(5):
        starts += tracker.probe()
        tracker.replayed(0, frame(0))
        tracker.damaged("undecodable batch 0")
        replay(tracker, 1)

    assert starts == [Replay(0), Replay(0), Replay(0), Replay(1), Replay(1)]
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "undecodable batch 0")


def test_answers_nobody_waits_for_mean_nothing() -> None:
    """Frames, ends and failures of a replay that was replaced are ignored."""
    tracker = exact(0)

    assert tracker.replayed(1, frame(1)) == []
    assert tracker.replay_ended() == []
    assert tracker.replay_failed("no answer") == []
    assert (tracker.state, tracker.last) == (State.EXACT, 0)
