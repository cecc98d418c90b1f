"""What a new list of pods makes the event manager do."""

import pytest

from kvsync.discovery import StaticDiscovery
from kvsync.events import Source
from kvsync.index import PrefixIndex
from kvsync.manager import Endpoints, EventManager, plan
from kvsync.pods import Pod

A, B = Source("a", "m"), Source("b", "m")
AT_1 = Endpoints("tcp://10.0.0.1:5557", "tcp://10.0.0.1:5558")
AT_2 = Endpoints("tcp://10.0.0.2:5557", "tcp://10.0.0.2:5558")


def pod(name: str, host: str, model: str = "m", replay_port: int | None = 5558) -> Pod:
    """A pod with an engine's usual ports."""
    return Pod(name=name, model=model, host=host, replay_port=replay_port)


@pytest.mark.parametrize(
    ("running", "pods", "stop", "start"),
    [
        ({}, [], (), {}),
        ({}, [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")], (), {A: AT_1, B: AT_2}),
        ({A: AT_1}, [pod("a", "10.0.0.1")], (), {}),
        ({A: AT_1, B: AT_2}, [pod("b", "10.0.0.2")], (A,), {}),
        ({A: AT_1}, [pod("a", "10.0.0.2")], (A,), {A: AT_2}),
        ({A: AT_1}, [pod("a", "10.0.0.1", replay_port=None)], (A,), {A: Endpoints(AT_1.live, None)}),
        ({A: AT_1}, [pod("a", "10.0.0.1", model="n")], (A,), {Source("a", "n"): AT_1}),
        ({A: AT_1, B: AT_2}, [pod("a", "10.0.0.2"), pod("b", "10.0.0.1")], (A, B), {A: AT_2, B: AT_1}),
    ],
    ids=["nothing", "new", "same", "deleted", "moved", "no replay any more", "other model", "swapped"],
)
def test_a_publisher_is_its_name_model_and_address(
    running: dict[Source, Endpoints],
    pods: list[Pod],
    stop: tuple[Source, ...],
    start: dict[Source, Endpoints],
) -> None:
    """What is gone or changed is stopped, what is new or changed is started, the rest is left alone."""
    assert plan(running, pods) == (stop, start)


def test_each_rank_is_a_publisher_of_its_own() -> None:
    """A pod that grows by a rank gets one more subscriber, on the next port."""
    grown = Pod(name="a", model="m", host="10.0.0.1", event_port=5557, replay_port=5560, dp_size=2)
    first = Endpoints("tcp://10.0.0.1:5557", "tcp://10.0.0.1:5560")
    second = Endpoints("tcp://10.0.0.1:5558", "tcp://10.0.0.1:5561")

    assert plan({A: first}, [grown]) == ((), {Source("a", "m", 1): second})


def test_readiness_is_not_about_events() -> None:
    """A pod that takes no requests for a while is still followed."""
    assert plan({A: AT_1}, [Pod(name="a", model="m", host="10.0.0.1", ready=False, loras=("x",))]) == ((), {})


def test_of_a_source_that_is_not_followed_nothing_is_known() -> None:
    """A doubt about it comes too late, and there is nothing to go on from later."""
    manager = EventManager(PrefixIndex(), StaticDiscovery(()))

    manager.doubt(A, "the index", "events were left out")

    assert (manager.snapshot(A), manager.statuses()) == (None, ())
