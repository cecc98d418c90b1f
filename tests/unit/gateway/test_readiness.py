"""How long a new gateway waits to know what its pods hold."""

from collections.abc import Sequence

import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.operation.readiness import Readiness
from kvsync.pods import Pod
from kvsync.sequence import State


class Sources:
    """Sources in the given states."""

    def __init__(self, *states: State) -> None:
        self.states = states


class Time:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def readiness(sources: Sources, clock: Time, share: float, *, sync: bool = True) -> Readiness:
    """Return what waits 30 s at most for a share of the sources."""
    pods = (Pod(name="pod", model="m", host="h"),)
    config = GatewayConfig.model_validate(
        {"pods": pods, "sync_enabled": sync, "readiness": {"known_share": share, "within_s": 30}}
    )
    return Readiness(config, lambda: sources.states, clock)


@pytest.mark.parametrize(
    ("share", "states", "waits"),
    [
        (0.0, [State.BLIND, State.BLIND], False),
        (0.5, [State.BLIND, State.CATCHING_UP], True),
        (0.5, [State.BLIND, State.EXACT], False),
        (0.5, [State.DEGRADED, State.CATCHING_UP], False),
        (1.0, [State.EXACT, State.CATCHING_UP], True),
        (1.0, [], True),
    ],
    ids=["not set", "none known", "half exact", "half degraded", "one missing", "no sources yet"],
)
def test_it_waits_for_a_share_of_the_sources(share: float, states: Sequence[State], waits: bool) -> None:
    """A source is known when nothing more of its history is on its way."""
    waiting = readiness(Sources(*states), Time(), share).waiting()

    assert bool(waiting) is waits
    assert not waits or f"of {len(states)} sources are known" in waiting


def test_it_does_not_wait_for_ever() -> None:
    """A source that never answers holds up a roll-out for `within_s`."""
    clock = Time()
    waits = readiness(Sources(State.BLIND), clock, 1.0)
    assert waits.waiting() == "; waiting up to 30 s more: 0 of 1 sources are known"

    clock.now_s += 30

    assert waits.waiting() == ""


def test_it_waits_once() -> None:
    """A gateway that was ready stays so when sources are lost."""
    sources = Sources(State.EXACT)
    waits = readiness(sources, Time(), 1.0)
    assert waits.waiting() == ""

    sources.states = (State.BLIND,)

    assert waits.waiting() == ""


def test_without_events_it_does_not_wait() -> None:
    """Nothing would ever be known."""
    assert readiness(Sources(), Time(), 1.0, sync=False).waiting() == ""
