"""What probes make of a pod's health."""

import pytest

from kvsync.gateway.catalog import ModelCard
from kvsync.gateway.health import Answered, Health, Unanswered, judge

CARDS = (ModelCard(id="m"),)
UP = Health(healthy=True, problem="", cards=CARDS)


@pytest.mark.parametrize(
    ("before", "probe", "after"),
    [
        pytest.param(Health(), Answered(CARDS), UP, id="first-answer"),
        pytest.param(
            Health(),
            Unanswered("refused"),
            Health(healthy=False, failures=1, refusals=1, problem="refused"),
            id="never-answered-is-not-healthy",
        ),
        pytest.param(
            UP,
            Unanswered("late", late=True),
            Health(healthy=True, failures=1, problem="late", cards=CARDS),
            id="one-failure-is-forgiven",
        ),
        pytest.param(
            Health(healthy=True, failures=1, refusals=1, problem="refused", cards=CARDS),
            Unanswered("refused"),
            Health(healthy=False, gone=True, failures=2, refusals=2, problem="refused", cards=CARDS),
            id="two-in-a-row-are-not",
        ),
        pytest.param(
            Health(healthy=True, failures=1, refusals=1, problem="refused", cards=CARDS),
            Unanswered("late", late=True),
            Health(healthy=False, failures=2, problem="late", cards=CARDS),
            id="a-late-pod-is-unhealthy-but-not-gone",
        ),
        pytest.param(
            Health(healthy=False, failures=9, problem="late", cards=CARDS),
            Answered(None),
            UP,
            id="one-answer-mends-it-and-known-models-stay",
        ),
    ],
)
def test_judge(before: Health, probe: Answered | Unanswered, after: Health) -> None:
    """A pod is healthy after an answer and unhealthy after two failures in a row."""
    assert judge(before, probe, failures=2) == after


@pytest.mark.parametrize(
    ("late", "after"),
    [
        pytest.param(True, Health(healthy=True, problem="x, but its answers go on", cards=CARDS), id="late"),
        pytest.param(
            False,
            Health(healthy=False, failures=2, refusals=1, problem="x", cards=CARDS),
            id="refused",
        ),
    ],
)
def test_bytes_of_answers_excuse_a_late_probe(*, late: bool, after: Health) -> None:
    """A pod that sends bytes of answers is alive; one that also refuses its probes is on its way out."""
    before = Health(healthy=True, failures=1, problem="x", cards=CARDS)

    assert judge(before, Unanswered("x", late=late), failures=2, progress=True) == after
