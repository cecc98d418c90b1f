"""Prefixes that engines will hold soon: until when, how many, and for whom."""

from kvsync.events import Source
from kvsync.index import ExpectedPrefixes, Prompt

A, B = Source("a", "m"), Source("b", "m")
PROMPT = Prompt(model="m", tokens=range(100))
"""Six blocks of 16 tokens."""


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def expecting(clock: Clock, most: int = 100, for_s: float = 5.0) -> ExpectedPrefixes:
    """Return what is expected of `a` since the clock's time: the prompt."""
    expected = ExpectedPrefixes(for_s=for_s, most=most, clock=clock)
    expected.add(expected.hashes(PROMPT), A)
    return expected


def test_what_prompts_have_in_common_is_expected() -> None:
    """Each source counts up to its first block that differs."""
    expected = expecting(Clock())
    expected.add(expected.hashes(Prompt(model="m", tokens=[*range(32), *range(500, 600)])), B)

    assert expected.tokens(expected.hashes(PROMPT)) == {A: 96, B: 32}


def test_nothing_is_expected_for_long() -> None:
    """After its seconds an expectation is gone."""
    clock = Clock()
    expected = expecting(clock)

    clock.now = 4.9
    assert expected.tokens(expected.hashes(PROMPT)) == {A: 96}
    clock.now = 5.0
    assert expected.tokens(expected.hashes(PROMPT)) == {}


def test_the_oldest_go_first() -> None:
    """With room for six blocks, one prompt takes the place of another."""
    expected, other = expecting(Clock(), most=6), Prompt(model="m", tokens=range(500, 600))
    expected.add(expected.hashes(other), B)

    assert expected.tokens(expected.hashes(PROMPT)) == {}
    assert expected.tokens(expected.hashes(other)) == {B: 96}


def test_models_adapters_and_salts_are_apart() -> None:
    """Engines do not share blocks between them either."""
    expected = expecting(Clock())
    others = (
        Prompt(model="n", tokens=range(100)),
        Prompt(model="m", lora="l", tokens=range(100)),
        Prompt(model="m", salt="l", tokens=range(100)),
    )

    assert [expected.tokens(expected.hashes(each)) for each in others] == [{}, {}, {}]


def test_expectations_can_be_switched_off() -> None:
    """No seconds, nothing expected."""
    expected = expecting(Clock(), for_s=0)

    assert expected.tokens(expected.hashes(PROMPT)) == {}
