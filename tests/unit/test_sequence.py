"""The tracker step by step: order, gaps, restarts, lost history, and what it says of its state."""

import pytest

from kvsync.sequence import WINDOW, Deliver, Forget, Replay, SequenceTracker, State, Step


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


@pytest.mark.parametrize(
    "numbers", [[1, 2, 3], [1, 2, 4], [1, 2, 2], [2, 3], [0, 1], [*range(1, 2 * WINDOW)]]
)
def test_frames_are_followed_together_as_one_by_one(numbers: list[int]) -> None:
    """As many as come in order are delivered together, and all that is known then is the same."""
    together, single = exact(0), exact(0)
    payloads = [frame(number) for number in numbers]

    count = together.follow(numbers, payloads)

    assert count == next((i for i, n in enumerate(numbers) if n != i + 1), len(numbers))
    for number in numbers[:count]:
        assert single.receive(number, frame(number)) == delivered(number)
    assert (together.last, together.live, together.memory) == (single.last, single.live, single.memory)
    for number, payload in zip(numbers[count:], payloads[count:], strict=True):
        assert together.receive(number, payload) == single.receive(number, payload)
    assert together.receive(numbers[0], b"another life") == single.receive(numbers[0], b"another life")


@pytest.mark.parametrize("tracker", [SequenceTracker(), exact()])
def test_nothing_is_followed_before_history_is_known(tracker: SequenceTracker) -> None:
    """Neither while not connected nor while what was missed is asked for."""
    if tracker.state is State.EXACT:
        tracker.receive(1, frame(1))

    assert tracker.follow([0], [frame(0)]) == 0
    assert tracker.last is None


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
    """A late frame fills its place and is not taken for a restart."""
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


@pytest.mark.parametrize("noticed", [True, False])
def test_frames_waiting_when_the_connection_breaks_are_dropped(noticed: bool) -> None:
    """They may be of a life that is over; the replay holds them if not."""
    tracker = exact(0)
    tracker.receive(2, frame(2))
    if noticed:
        tracker.disconnected()
    tracker.connected()

    assert tracker.live == 0
    assert [type(step) for step in replay(tracker)] == [Forget, Replay]
    assert replay(tracker, 0, life="y") == delivered(0, life="y", replayed=True)
    assert tracker.state is State.EXACT
