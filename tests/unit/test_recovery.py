"""A cluster is well again from the first of five probes in a row that find nothing wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.errors import WaitTimeout
from kvsync.testing.history import History, read
from kvsync.testing.recovery import await_recovery


class Cluster:
    """A cluster that is wrong at some seconds of a clock that each probe and each wait moves on."""

    def __init__(self, *wrong_at: int) -> None:
        self.now = 1000.0
        self._wrong_at = wrong_at

    def probe(self) -> str:
        """Take a second, and say what was wrong at its beginning."""
        second = self.now - 1000
        self.now += 1
        return f"wrong at {second:g}" if second in self._wrong_at else ""

    def recovery_s(self, history: History, *, limit_s: float = 120) -> float:
        """Await the recovery from a fault that ended at 998."""
        return await_recovery(
            self.probe, 998.0, history, limit_s=limit_s, clock=lambda: self.now, sleep=lambda _: None
        )


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history of its own."""
    return History(tmp_path / "h.jsonl", "test")


def recoveries(history: History) -> Iterator[tuple[object, object]]:
    """Return how each recovery ended, and after how many seconds."""
    return ((record["type"], record["seconds"]) for record in read([history.path]))


@pytest.mark.parametrize(
    ("wrong_at", "seconds", "probes"),
    [
        pytest.param((), 2, 5, id="at once"),
        pytest.param((0, 1), 4, 7, id="after two seconds"),
        pytest.param((0, 5), 8, 11, id="after four good ones and a bad one"),
    ],
)
def test_it_counts_from_the_first_good_probe(
    history: History, wrong_at: tuple[int, ...], seconds: float, probes: int
) -> None:
    """Four good probes do not count when the next one is bad."""
    cluster = Cluster(*wrong_at)

    assert cluster.recovery_s(history) == seconds
    assert cluster.now == 1000 + probes
    assert [*recoveries(history)] == [("ok", seconds)]


def test_a_late_recovery_misses_the_goal(history: History) -> None:
    """It is waited for all the same, so that the report says by how much."""
    assert Cluster(*range(29)).recovery_s(history) == 31

    assert [*recoveries(history)] == [("fail", 31)]


def test_no_recovery_says_what_is_wrong(history: History) -> None:
    """At the limit the last problem comes out, and the history has how long it was waited."""
    with pytest.raises(WaitTimeout, match="wrong at 60"):
        Cluster(*range(100)).recovery_s(history, limit_s=60)

    assert [*recoveries(history)] == [("fail", 63)]
