"""How many requests an address may make."""

import pytest

from deployments.allowance import MAX_ADDRESSES, Allowance


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_an_address_that_asks_too_often_waits_for_the_next_token() -> None:
    """A minute's worth at once, and then one at a time."""
    clock = Clock()
    allowance = Allowance(3, clock)

    assert [allowance.take("192.0.2.1") for _ in range(4)] == [0, 0, 0, 20]
    clock.now = 20
    assert [allowance.take("192.0.2.1") for _ in range(2)] == [0, 20]


@pytest.mark.parametrize(
    ("other", "waits"),
    [("192.0.2.2", False), ("2001:db8::ffff", True), ("2001:db8:0:1::1", False), ("unix", False)],
    ids=["IPv4", "same /64", "next /64", "no address"],
)
def test_addresses_do_not_pay_for_each_other_unless_one_host_has_both(other: str, waits: bool) -> None:
    """An IPv6 host may choose among 2^64 addresses."""
    allowance = Allowance(1, Clock())
    allowance.take("2001:db8::1")

    assert bool(allowance.take(other)) is waits


def test_addresses_that_were_quiet_longest_are_forgotten() -> None:
    """Memory is bounded, however many ask."""
    allowance = Allowance(1, Clock())
    for number in range(MAX_ADDRESSES + 1):
        allowance.take(str(number))

    assert allowance.take("1") == 60
    assert allowance.take("0") == 0
