"""The tracker step by step: order, gaps, restarts, lost history, and what it says of its state."""

import pytest

from kvsync.sequence import MAX_WAITING, WINDOW, Deliver, Forget, Replay, SequenceTracker, State, Step


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


def test_first_connection_replays_from_the_start() -> None:
    """A new tracker knows nothing, asks for everything, and is exact when it has it."""
    tracker = SequenceTracker()
    assert (tracker.state, tracker.last, tracker.live) == (State.BLIND, None, None)

    assert tracker.connected() == [Replay(0)]
    assert tracker.state is State.CATCHING_UP
    assert tracker.replayed(0, frame(0)) == delivered(0, replayed=True)
    assert tracker.replayed(1, frame(1)) == delivered(1, replayed=True)
    assert tracker.replay_ended() == []
    assert (tracker.state, tracker.reason, tracker.last, tracker.live) == (State.EXACT, "", 1, 1)


def test_publisher_that_never_published_is_exact() -> None:
    """An empty ring is a complete history; the first frame to come is 0."""
    tracker = exact()

    assert tracker.receive(0, frame(0)) == delivered(0)
    assert tracker.state is State.EXACT


def test_frames_in_order_are_delivered_at_once() -> None:
    """The usual case takes no detour."""
    tracker = exact(0)

    assert tracker.receive(1, frame(1)) == delivered(1)
    assert tracker.receive(2, frame(2)) == delivered(2)


def test_live_frames_wait_while_history_is_replayed() -> None:
    """Order is kept: what arrives during a replay is delivered after it."""
    tracker = SequenceTracker()
    tracker.connected()

    assert tracker.receive(3, frame(3)) == []
    assert tracker.receive(2, frame(2)) == []
    assert (tracker.last, tracker.live) == (None, 3)
    assert replay(tracker, 0, 1) == delivered(0, 1, replayed=True) + delivered(2, 3)
    assert tracker.state is State.EXACT


def test_frame_that_waits_and_is_replayed_is_delivered_once() -> None:
    """The replay may hold frames that came live meanwhile."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.receive(1, frame(1))

    assert replay(tracker, 0, 1) == delivered(0, 1, replayed=True)


def test_gap_asks_for_the_missing_frames() -> None:
    """A frame that skips numbers is delivered after its predecessors."""
    tracker = exact(0, 1)

    assert tracker.receive(4, frame(4)) == [Replay(1)]
    assert tracker.state is State.CATCHING_UP
    assert replay(tracker, 1, 2, 3, 4) == delivered(2, 3, 4, replayed=True)
    assert (tracker.state, tracker.counters.gaps) == (State.EXACT, 1)


def test_replay_reaches_back_to_the_last_confirmed_frame() -> None:
    """Frames that no replay confirmed are compared with the ring, so a restart among them is noticed."""
    tracker = exact(0, 1)
    tracker.receive(2, frame(2))
    tracker.receive(3, frame(3))

    assert tracker.receive(5, frame(5)) == [Replay(1)]
    replay(tracker, 1, 2, 3, 4, 5)
    assert tracker.receive(7, frame(7)) == [Replay(5)]


def test_replay_reaches_back_no_further_than_the_window() -> None:
    """However long ago the last replay was, the overlap is bounded."""
    tracker = exact(0)
    for number in range(1, WINDOW + 10):
        tracker.receive(number, frame(number))

    assert tracker.probe() == [Replay(10)]


def test_reordered_frames_are_put_in_order() -> None:
    """A late frame fills its place; nobody is taken for a restart."""
    tracker = exact(0)
    tracker.receive(2, frame(2))
    assert tracker.receive(1, frame(1)) == []

    assert replay(tracker, 0) == delivered(1, 2)
    assert (tracker.state, tracker.counters.restarts) == (State.EXACT, 0)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_duplicates_are_dropped_and_counted(number: int) -> None:
    """A frame with known content, delivered or waiting, means nothing."""
    tracker = exact(0, 1)
    tracker.receive(3, frame(3))

    assert tracker.receive(number, frame(number)) == []
    assert tracker.counters.duplicates == 1
    assert replay(tracker, 1, 2) == delivered(2, replayed=True) + delivered(3)


@pytest.mark.parametrize("number", [0, 1])
def test_known_number_with_other_content_is_a_restart(number: int) -> None:
    """The publisher began anew: everything is forgotten before anything of its new life is delivered."""
    tracker = exact(0, 1)

    steps = tracker.receive(number, frame(number, "y"))
    assert isinstance(steps[0], Forget)
    assert steps[1:] == [Replay(0)]
    assert (tracker.last, tracker.counters.restarts) == (None, 1)
    assert replay(tracker, 0, 1, life="y") == delivered(0, 1, life="y", replayed=True)
    assert tracker.state is State.EXACT


def test_waiting_number_with_other_content_is_a_restart() -> None:
    """Of two frames with one number that wait, the older belongs to a life that is over."""
    tracker = exact(0)
    tracker.receive(4, frame(4))

    assert [type(step) for step in tracker.receive(4, frame(4, "y"))] == [Forget, Replay]
    assert replay(tracker, 0, 1, 2, 3, life="y") == (
        delivered(0, 1, 2, 3, life="y", replayed=True) + delivered(4, life="y")
    )


def test_number_older_than_the_window_is_a_restart() -> None:
    """What cannot be compared any more is not taken for a duplicate."""
    tracker = exact(0)
    for number in range(1, WINDOW + 1):
        tracker.receive(number, frame(number))

    assert tracker.receive(1, frame(1)) == []
    assert [type(step) for step in tracker.receive(0, frame(0))] == [Forget, Replay]


def test_reconnection_confirms_what_is_known() -> None:
    """Entries are kept over a lost connection, and missed frames are replayed."""
    tracker = exact(0, 1)
    assert tracker.disconnected() == []
    assert (tracker.state, tracker.last) == (State.BLIND, 1)

    assert tracker.connected() == [Replay(1)]
    assert replay(tracker, 1, 2) == delivered(2, replayed=True)
    assert (tracker.state, tracker.counters.restarts) == (State.EXACT, 0)


def test_frames_of_an_unknown_connection_mean_nothing() -> None:
    """Before a connection is noticed, a frame could be of either life; the replay brings it."""
    tracker = exact(0, 1)
    tracker.disconnected()

    assert tracker.receive(2, frame(2)) == []
    assert tracker.last == 1


@pytest.mark.parametrize(
    "ring",
    [
        pytest.param([], id="nothing published yet"),
        pytest.param([0, 1], id="fewer frames than before"),
        pytest.param([2], id="the same number"),
        pytest.param([2, 3, 4], id="more frames than before"),
    ],
)
def test_restart_during_a_lost_connection_is_noticed(ring: list[int]) -> None:
    """However far the new life has come, its ring disagrees with what was delivered."""
    tracker = exact(0, 1, 2)
    tracker.disconnected()
    tracker.connected()

    steps: list[Step] = []
    for number in [number for number in ring if number >= 2]:
        steps += tracker.replayed(number, frame(number, "y"))
        if steps:
            break
    steps = steps or tracker.replay_ended()
    assert [type(step) for step in steps] == [Forget, Replay]
    assert steps[1] == Replay(0)


def test_frames_waiting_when_the_connection_breaks_are_dropped() -> None:
    """They may be of a life that is over; the replay holds them if not."""
    tracker = exact(0)
    tracker.receive(2, frame(2))
    tracker.disconnected()
    tracker.connected()

    assert tracker.live == 0
    assert [type(step) for step in replay(tracker)] == [Forget, Replay]
    assert replay(tracker, 0, life="y") == delivered(0, life="y", replayed=True)
    assert tracker.state is State.EXACT


def test_truncated_first_replay_is_served_degraded() -> None:
    """When the ring lost the beginning, what is there is delivered and the state says so."""
    tracker = SequenceTracker()
    tracker.connected()

    assert replay(tracker, 7, 8) == delivered(7, 8, replayed=True)
    assert tracker.state is State.DEGRADED
    assert tracker.reason == "history before frame 7 is gone"
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


def test_truncated_replay_leaves_a_given_up_source_as_it_is() -> None:
    """When the probe finds the beginning gone, entries are kept and it is not asked for again."""
    tracker = given_up(4, 5)
    tracker.probe()

    assert replay(tracker, 3, 4, 5, 6) == delivered(6, replayed=True)
    assert (tracker.state, tracker.reason) == (State.DEGRADED, "history before frame 3 is gone")
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


def test_replay_with_a_hole_counts_as_failed() -> None:
    """A replay that skips a number is not trusted further."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.replayed(0, frame(0))

    assert tracker.replayed(2, frame(2)) == [Replay(0, 0.1)]
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
    assert tracker.damaged("undecodable batch 1") == []
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
