"""The faulty channel disturbs what it is told to, repeatably, and keeps count."""

import random
from collections.abc import Callable

import pytest

from kvsync.publisher import Frames
from kvsync.simulator.channel import Faults, FaultyChannel


def message(number: int) -> Frames:
    """The message with a number."""
    return (b"", bytes([number]), b"payload")


class Wire:
    """What left a channel by itself or at once, and a clock with a calendar of calls."""

    def __init__(self, faults: Faults, seed: int = 7) -> None:
        self.now = 100.0
        self.sent: list[int] = []
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.channel = FaultyChannel(
            random.Random(seed),
            send=lambda one: self.sent.append(one[1][0]),
            later=lambda delay, call: self.calls.append((self.now + delay, call)),
            clock=lambda: self.now,
        )
        self.channel.switch(faults)

    def carry(self, *numbers: int) -> list[int]:
        """The numbers that leave at once instead of these, in order."""
        return [out[1][0] for number in numbers for out in self.channel.carry(message(number))]

    def advance(self, seconds: float) -> None:
        """Let time pass, making the calls that become due."""
        self.now += seconds
        due = [call for at, call in self.calls if at <= self.now]
        self.calls = [(at, call) for at, call in self.calls if at > self.now]
        for call in due:
            call()


def test_clear_channel_changes_nothing() -> None:
    """Without faults every message leaves at once, once, in order."""
    assert Wire(Faults()).carry(*range(50)) == list(range(50))


@pytest.mark.parametrize(
    ("faults", "leaving"),
    [
        (Faults(drop=1), []),
        (Faults(duplicate=1), [0, 0, 1, 1, 2, 2, 3, 3]),
        (Faults(reorder=1), [1, 0, 3, 2]),
        (Faults(duplicate=1, reorder=1), [0, 1, 1, 0, 2, 3, 3, 2]),
    ],
    ids=["drop", "duplicate", "reorder", "duplicate and reorder"],
)
def test_fault_strikes_every_message_at_one(faults: Faults, leaving: list[int]) -> None:
    """At fraction 1 every message is lost, doubled, or sent after its successor."""
    assert Wire(faults).carry(0, 1, 2, 3) == leaving


def test_fraction_is_kept() -> None:
    """About the given share of messages is lost, and counted."""
    wire = Wire(Faults(drop=0.3))

    left = wire.carry(*range(250), *range(250))

    assert 325 <= len(left) <= 375
    assert wire.channel.counts.dropped == 500 - len(left)


def test_same_seed_disturbs_the_same_messages() -> None:
    """The pattern is a function of the seed, and a further fault does not shift it."""
    lost = [
        set(range(100)) - set(Wire(faults, seed=3).carry(*range(100))) for faults in (Faults(drop=0.2),) * 2
    ]
    assert lost[0] == lost[1]

    assert set(Wire(Faults(drop=0.2, duplicate=0.5), seed=3).carry(*range(100))) == set(range(100)) - lost[0]
    assert set(Wire(Faults(drop=0.2), seed=4).carry(*range(100))) != set(range(100)) - lost[0]


def test_dropped_successor_still_releases_the_held_message() -> None:
    """A message that waits for its successor goes out when the successor is lost."""
    wire = Wire(Faults(reorder=1))
    assert wire.carry(0) == []
    wire.channel.faults = Faults(drop=1)

    assert wire.carry(1) == [0]


def test_switching_faults_releases_the_held_message() -> None:
    """Nothing stays held when the faults end."""
    wire = Wire(Faults(reorder=1))
    wire.carry(0)

    wire.channel.switch(Faults())

    assert (wire.sent, wire.carry(1)) == ([0], [1])


def test_delayed_messages_leave_in_order_when_due() -> None:
    """Each message is late by the delay, and none overtakes another."""
    wire = Wire(Faults(delay_s=2))
    assert wire.carry(0) == []
    wire.advance(1)
    assert wire.carry(1) == []
    assert wire.sent == []

    wire.advance(1)
    assert wire.sent == [0]
    wire.advance(1)
    assert wire.sent == [0, 1]


def test_smaller_delay_does_not_overtake() -> None:
    """Messages sent after the delay ended still follow the late ones."""
    wire = Wire(Faults(delay_s=2))
    wire.carry(0)
    wire.channel.switch(Faults())

    assert wire.carry(1) == []
    wire.advance(2)
    assert (wire.sent, wire.carry(2)) == ([0, 1], [2])


def test_broken_connection_loses_what_is_on_its_way() -> None:
    """Neither a held nor a late message is sent after the loss; what follows is."""
    wire = Wire(Faults(delay_s=2))
    wire.carry(0)
    wire.channel.faults = Faults(reorder=1)
    wire.carry(1)

    wire.channel.lose()

    wire.channel.switch(Faults())
    wire.advance(3)
    assert (wire.sent, wire.carry(2)) == ([], [2])


def test_status_proves_what_happened() -> None:
    """Faults and counts are told together."""
    wire = Wire(Faults(duplicate=1, delay_s=1))
    wire.carry(0)

    assert wire.channel.status() == {
        "drop": 0.0,
        "duplicate": 1,
        "reorder": 0.0,
        "delay_s": 1,
        "clock_offset_s": 0.0,
        "counts": {"carried": 1, "dropped": 0, "duplicated": 1, "reordered": 0, "delayed": 2},
    }


def test_faults_are_read_from_json() -> None:
    """Faults left out are off."""
    raw = {"drop": 1, "delay_s": 0.5, "clock_offset_s": -30}
    assert Faults.parse(raw) == Faults(drop=1.0, delay_s=0.5, clock_offset_s=-30.0)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ([], "faults are an object with drop, duplicate, reorder, delay_s, clock_offset_s"),
        ({"drop": 1.5}, "drop must be a number from 0 to 1, not 1.5"),
        ({"drop": -0.1}, "drop must be a number from 0 to 1, not -0.1"),
        ({"reorder": True}, "reorder must be a number from 0 to 1, not True"),
        ({"delay_s": 61}, "delay_s must be a number from 0 to 60, not 61"),
        ({"clock_offset_s": -86_401}, "clock_offset_s must be a number from -86400 to 86400, not -86401"),
        ({"delay_s": float("nan")}, "delay_s must be a number from 0 to 60, not nan"),
        (
            {"drop": "x", "lag": 1},
            "unknown fault 'lag'; valid: drop, duplicate, reorder, delay_s, clock_offset_s; drop must be",
        ),
    ],
    ids=["list", "above", "below", "bool", "too late", "too far back", "nan", "all problems"],
)
def test_bad_faults_are_refused(raw: object, problem: str) -> None:
    """Every problem is named."""
    with pytest.raises(ValueError, match=problem.replace("?", r"\?")):
        Faults.parse(raw)
