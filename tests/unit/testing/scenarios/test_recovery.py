"""A cluster is well again from the first of five probes in a row that find nothing wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.testing.clusters.endpoints import SourceView
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.results.history import History, read
from kvsync.testing.scenarios.recovery import await_recovery, problems
from kvsync.testing.traffic.sender import Answer


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

    def recovery_s(self, history: History, *, limit_s: float = 120, ended: float = 998.0) -> float:
        """Await the recovery from a fault that `ended` then."""
        return await_recovery(
            self.probe, ended, history, limit_s=limit_s, clock=lambda: self.now, sleep=lambda _: None
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


@pytest.mark.parametrize(
    ("seconds", "type_"),
    [pytest.param(30.0, "ok", id="in time"), pytest.param(30.25, "fail", id="late")],
)
def test_a_late_recovery_misses_the_goal(history: History, seconds: float, type_: str) -> None:
    """It is waited for all the same, so that the report says by how much."""
    assert Cluster(*range(29)).recovery_s(history, ended=1029 - seconds) == seconds

    assert [*recoveries(history)] == [(type_, seconds)]


def test_no_recovery_says_what_is_wrong(history: History) -> None:
    """At the limit the last problem comes out, and the history has how long it was waited."""
    with pytest.raises(WaitTimeout, match="wrong at 60"):
        Cluster(*range(100)).recovery_s(history, limit_s=60)

    assert [*recoveries(history)] == [("fail", 63)]


ANSWER = Answer(number=0, model="m", t_mono=0.0, latency_s=0.0, ok=True)
A, B = (SourceView(pod=pod, rank=0, state="exact", reason="", last=7) for pod in "ab")
SILENT = SourceView(pod="b", rank=0, state="exact", reason="", last=None)


@pytest.mark.parametrize(
    ("answer", "used", "sources", "found"),
    [
        pytest.param(ANSWER, "ab", [A, B], [], id="nothing"),
        pytest.param(ANSWER, "ab", [A, replace(B, last=9)], [], id="more than was published then"),
        pytest.param(ANSWER, "abc", [A, B, replace(SILENT, pod="c")], [], id="a pod that came since"),
        pytest.param(
            replace(ANSWER, ok=False, status=502, error="no pod"),
            "ab",
            [A, B],
            ["a request failed: 502 no pod"],
            id="a request failed",
        ),
        pytest.param(ANSWER, "a", [A, B], ["not used: b"], id="a pod is not used"),
        pytest.param(ANSWER, "ab", [A], ["not followed: b"], id="a pod is not followed"),
        pytest.param(
            ANSWER,
            "ab",
            [A, replace(B, state="unknown", reason="a gap")],
            ["b unknown (a gap), last batch 7 of 7"],
            id="an index is not exact",
        ),
        pytest.param(
            ANSWER, "ab", [A, replace(B, last=6)], ["b exact, last batch 6 of 7"], id="a gateway is behind"
        ),
        pytest.param(ANSWER, "ab", [A, SILENT], ["b exact, last batch None of 7"], id="nothing came"),
    ],
)
def test_a_probe_says_what_is_wrong(
    answer: Answer, used: str, sources: Sequence[SourceView], found: list[str]
) -> None:
    """One gateway that is not well is enough."""
    well = "ab", [A, B]

    assert [*problems(answer, {"a": 7, "b": 7}, [well, (used, sources)])] == found


@pytest.mark.parametrize(
    ("published", "found"),
    [
        pytest.param(-1, [], id="nothing published"),
        pytest.param(0, ["b exact, last batch None of 0"], id="the first batch"),
    ],
)
def test_a_gateway_that_got_nothing_is_behind_once_something_came(published: int, found: list[str]) -> None:
    """Batches are numbered from 0."""
    assert [*problems(ANSWER, {"b": published}, [("b", [SILENT])])] == found
