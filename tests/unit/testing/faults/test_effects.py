"""When the effect of a fault is taken for measured, from what was read."""

from collections.abc import Mapping

import pytest

from kvsync.testing.clusters.cluster import PortName
from kvsync.testing.faults.effects import killed, restarted, saying, unanswered
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.node.pod import unwell

STALLED: Mapping[PortName, str] = {"http": "silent", "events": "accepted"}


@pytest.mark.parametrize(
    ("there", "runs", "came", "effect"),
    [
        pytest.param(False, False, "cb", Effect(True, "a is gone, its engine ended, b, c came"), id="killed"),
        pytest.param(True, False, "b", Effect(False, "a is there, its engine ended, b came"), id="there"),
        pytest.param(False, True, "b", Effect(False, "a is gone, its engine runs, b came"), id="runs on"),
        pytest.param(
            False, False, "", Effect(False, "a is gone, its engine ended, nobody came"), id="nobody came"
        ),
    ],
)
def test_a_pod_was_killed_when_it_is_gone_and_another_came(
    there: bool, runs: bool, came: str, effect: Effect
) -> None:
    """A pod that Kubernetes has no more may still run on its node."""
    assert killed("a", there=there, runs=runs, came=came) == effect


@pytest.mark.parametrize(
    ("now", "is_proved"),
    [
        pytest.param((8, 3), True, id="another engine"),
        pytest.param((7, 3), False, id="the same process"),
        pytest.param((8, 2), False, id="the same cache"),
    ],
)
def test_an_engine_was_restarted_when_process_and_epoch_are_others(
    now: tuple[int, int], is_proved: bool
) -> None:
    """A restart in place is none, and one that kept its cache tests nothing."""
    effect = restarted("process", (7, 2), now)

    assert effect == Effect(is_proved, f"process {now[0]} after 7, epoch {now[1]} after 2")


@pytest.mark.parametrize(
    ("said", "is_proved"),
    [
        pytest.param(STALLED, True, id="all"),
        pytest.param({**STALLED, "events": "answered"}, False, id="one of two"),
        pytest.param({"http": "accepted", "events": "silent"}, False, id="each what the other should"),
    ],
)
def test_a_fault_of_ports_has_to_show_on_each(said: Mapping[PortName, str], is_proved: bool) -> None:
    """Not every port says the same."""
    assert saying(said, STALLED).present is is_proved


@pytest.mark.parametrize(
    ("events", "is_left"),
    [
        pytest.param("answered", False, id="none"),
        pytest.param("refused", True, id="one of two"),
        pytest.param("broken off", True, id="something else"),
    ],
)
def test_one_port_without_an_answer_is_a_fault_that_is_left(events: str, is_left: bool) -> None:
    """Whatever is said instead of an answer."""
    assert unanswered({"http": "answered", "events": events}) == Effect(
        is_left, f"http answered, events {events}"
    )


@pytest.mark.parametrize(
    ("said", "is_ready", "effect"),
    [
        pytest.param("answered", True, Effect(False, "http answered, the pod is ready"), id="well"),
        pytest.param("refused", True, Effect(True, "http refused, the pod is ready"), id="refused"),
        pytest.param("answered", False, Effect(True, "http answered, the pod is not ready"), id="not ready"),
    ],
)
def test_a_pod_is_well_when_it_answers_and_kubernetes_finds_it_ready(
    said: str, is_ready: bool, effect: Effect
) -> None:
    """Until then no request is sent to it."""
    assert unwell({"http": said}, is_ready) == effect
