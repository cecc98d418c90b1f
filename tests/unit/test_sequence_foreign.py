"""The tracker when the replay endpoint is another publisher's: it does not believe it for long."""

import pytest

from kvsync.sequence import WINDOW, Deliver, Forget, Replay, SequenceTracker, State, Step

Frame = tuple[int, bytes]


class Engines:
    """A tracker that hears one engine live and is answered by another, which has `others` frames."""

    def __init__(self, others: int) -> None:
        self.others = others
        self.tracker = SequenceTracker()
        self.delivered: list[Frame] = []
        self.take(self.tracker.connected())

    def frame(self, number: int, engine: str = "live") -> bytes:
        """What an engine published under a number."""
        return f"{engine} {number}".encode()

    def take(self, steps: list[Step]) -> None:
        """Do what the tracker says; replays are answered at once, by the other engine."""
        for step in steps:
            match step:
                case Replay(start):
                    self.answer(start, "other", self.others)
                    return
                case Forget():
                    self.delivered.clear()
                case Deliver(sequence, payload):
                    self.delivered.append((sequence, payload))

    def answer(self, start: int, engine: str, until: int) -> None:
        """Answer a replay with what an engine has."""
        asked = self.tracker.counters.replays
        for number in range(start, until):
            self.take(self.tracker.replayed(number, self.frame(number, engine)))
            if self.tracker.counters.replays > asked:
                return
        self.take(self.tracker.replay_ended())

    def publish(self, *numbers: int) -> None:
        """Let frames arrive live."""
        for number in numbers:
            self.take(self.tracker.receive(number, self.frame(number)))


@pytest.mark.parametrize(
    ("others", "first"),
    [(50, 100), (100, 50), (WINDOW + 500, 50)],
    ids=["its ring is shorter", "its ring is longer", "its ring is far longer"],
)
def test_another_publishers_replays_are_not_believed(others: int, first: int) -> None:
    """After a few live frames the source is DEGRADED for that reason, and holds live frames only."""
    engines = Engines(others)
    engines.publish(*range(first, first + 4))
    seen = len(engines.delivered)
    engines.publish(first + 4, first + 5)

    assert engines.tracker.state is State.DEGRADED
    assert "answers for another publisher" in engines.tracker.reason
    assert seen < 5
    assert {payload[:4] for _, payload in engines.delivered} == {b"live"}
    assert engines.delivered[-1] == (first + 5, b"live %d" % (first + 5))


def test_another_publisher_without_frames_is_asked_about() -> None:
    """It answers and has nothing: live frames are served, and the reason suspects the endpoint."""
    engines = Engines(0)
    engines.publish(100, 101)

    assert engines.delivered == [(100, b"live 100"), (101, b"live 101")]
    assert (engines.tracker.state, "of the same engine and rank?" in engines.tracker.reason) == (
        State.DEGRADED,
        True,
    )


def disowned() -> Engines:
    """An engine whose replays were found to be another's."""
    engines = Engines(50)
    engines.publish(*range(100, 106))
    assert "another publisher" in engines.tracker.reason
    return engines


def test_a_gap_in_live_frames_is_not_filled_by_another_publisher() -> None:
    """What is lost is lost, and what came after it is served."""
    engines = disowned()
    engines.publish(110, 111)

    assert engines.delivered == [(110, b"live 110"), (111, b"live 111")]
    assert engines.tracker.state is State.DEGRADED
    assert "another publisher" in engines.tracker.reason


def test_a_probe_believes_nothing_of_another_publisher() -> None:
    """Asked again, it is still another one, and nothing is forgotten."""
    engines = disowned()
    delivered = list(engines.delivered)
    engines.take(engines.tracker.probe())

    assert engines.delivered == delivered
    assert "another publisher" in engines.tracker.reason


def test_replays_that_agree_again_are_believed_again() -> None:
    """Once the endpoint answers for the same engine, all of its history is fetched."""
    engines = disowned()
    (step,) = engines.tracker.probe()
    assert isinstance(step, Replay)
    (again,) = engines.tracker.replayed(105, engines.frame(105))
    assert again == Replay(0)

    engines.answer(0, "live", 106)
    assert (engines.tracker.state, len(engines.delivered)) == (State.EXACT, 106)


def test_a_new_connection_is_a_new_chance() -> None:
    """Another engine may answer by then."""
    engines = disowned()
    engines.tracker.disconnected()
    (step,) = engines.tracker.connected()

    assert isinstance(step, Replay)
    engines.answer(step.start, "live", 106)
    assert engines.tracker.state is not State.CATCHING_UP


def test_a_publisher_that_restarts_often_is_not_taken_for_another() -> None:
    """Each of its lives contradicts the one before, once, and then agrees with itself."""
    tracker = SequenceTracker()
    tracker.connected()
    tracker.replay_ended()
    for life in range(6):
        for unheard in range(3):  # lives that no replay tells of
            tracker.receive(0, b"%d %d" % (life, -unheard))
        for number in range(3):
            tracker.receive(number, b"%d %d" % (life, number))
        for number in range(3):
            tracker.replayed(number, b"%d %d" % (life, number))
        tracker.replay_ended()
        assert tracker.state is State.EXACT
