"""Where prediction and cache differ, the announcements of the pod say why, or nothing does."""

import pytest

from kvsync.testing.oracle.announcements import Announcement
from kvsync.testing.scenarios.agreement import agreement
from kvsync.testing.traffic.sender import Answer


def answer(predicted: int | None, cached: int | None, *, state: str = "exact", ok: bool = True) -> Answer:
    """An answer of pod p to a request that was sent at 10 s and took 1 s."""
    return Answer(
        number=7,
        model="m",
        t_mono=10.0,
        latency_s=1.0,
        ok=ok,
        pod="p",
        source_state=state,
        predicted=predicted,
        cached_tokens=cached,
    )


def batch(t_mono: float, *, pod: str = "p", stored: int = 0, removed: int = 0) -> Announcement:
    """A batch that stored or removed this many blocks."""
    return Announcement(
        pod=pod,
        model="m",
        epoch=0,
        seq=0,
        t_mono=t_mono,
        stored=tuple(range(stored)),
        removed=tuple(range(removed)),
    )


def test_equal_numbers_agree() -> None:
    """Answers with what was predicted are counted, nothing has to be explained."""
    result = agreement([answer(32, 32), answer(0, 0)], [], in_flight_s=0)

    assert (result.requests, result.agreeing, result.share) == (2, 2, 1.0)
    assert (dict(result.explained), list(result.unexplained)) == ({}, [])


@pytest.mark.parametrize(
    ("given", "announced", "cause"),
    [
        pytest.param(
            answer(32, 16),
            [batch(10.5, removed=1)],
            "evicted between prediction and allocation",
            id="evicted meanwhile",
        ),
        pytest.param(
            answer(16, 32),
            [batch(9.8, stored=1)],
            "stored so shortly before that its event was on its way",
            id="stored just before",
        ),
        pytest.param(answer(32, 0, state="degraded"), [], "the source was degraded", id="not trusted"),
        pytest.param(answer(None, 16), [], "nothing was predicted or reported", id="no prediction"),
        pytest.param(answer(16, None), [], "nothing was predicted or reported", id="no report"),
        pytest.param(answer(0, 0, ok=False), [], "the request failed", id="failed"),
    ],
)
def test_a_difference_is_explained(given: Answer, announced: list[Announcement], cause: str) -> None:
    """What the pod announced around the request explains the difference."""
    result = agreement([given], announced, in_flight_s=0.5)

    assert (result.agreeing, dict(result.explained)) == (0, {cause: 1})


@pytest.mark.parametrize(
    ("given", "announced"),
    [
        pytest.param(answer(32, 16), [], id="nothing announced"),
        pytest.param(answer(32, 16), [batch(10.5, pod="q", removed=1)], id="another pod removed"),
        pytest.param(answer(32, 16), [batch(11.5, removed=1)], id="removed afterwards"),
        pytest.param(answer(16, 32), [batch(9.0, stored=1)], id="stored long before"),
        pytest.param(answer(16, 32), [batch(10.5, stored=1)], id="stored by the request itself"),
    ],
)
def test_a_difference_without_cause_is_named(given: Answer, announced: list[Announcement]) -> None:
    """A difference that the announcements do not explain is a finding, with its numbers."""
    (line,) = agreement([given], announced, in_flight_s=0.5).unexplained

    assert line == f"request 7 to p: predicted {given.predicted}, cached {given.cached_tokens}"


def test_no_answer_agrees_with_nothing() -> None:
    """Without requests nothing was shown to agree."""
    assert agreement([], [], in_flight_s=0).share == 0.0
