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
            Health(healthy=False, failures=1, problem="refused"),
            id="never-answered-is-not-healthy",
        ),
        pytest.param(
            UP,
            Unanswered("late"),
            Health(healthy=True, failures=1, problem="late", cards=CARDS),
            id="one-failure-is-forgiven",
        ),
        pytest.param(
            Health(healthy=True, failures=1, problem="late", cards=CARDS),
            Unanswered("refused"),
            Health(healthy=False, failures=2, problem="refused", cards=CARDS),
            id="two-in-a-row-are-not",
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
