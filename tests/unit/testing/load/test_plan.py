"""What a load consists of: when requests are due, and how long all of it takes."""

import random
from itertools import islice

import pytest

from kvsync.testing.load.plan import CONTENTS, PLANS, Phase, arrivals, requests

PHASES = (
    Phase(name="calm", seconds=100, rate_per_s=10),
    Phase(name="storm", seconds=10, rate_per_s=100),
    Phase(name="calm again", seconds=100, rate_per_s=10),
)


def test_requests_arrive_at_the_rate_of_their_phase() -> None:
    """About a thousand in each phase, in order, and none after the end."""
    times = list(arrivals(PHASES, random.Random(1)))

    counts = [sum(start <= at < end for at in times) for start, end in ((0, 100), (100, 110), (110, 210))]
    assert times == sorted(times)
    assert sum(counts) == len(times)
    assert all(900 < count < 1100 for count in counts), counts


def test_the_same_seed_gives_the_same_load() -> None:
    """Made twice, as by the sender and by what counts the requests, it has the same requests."""
    one, same, other = (list(requests(PHASES, model="m", seed=seed)) for seed in (1, 1, 2))

    assert one == same
    assert [each.at_s for each in one] != [each.at_s for each in other]
    assert [each.number for each in one] == list(range(len(one)))


def test_a_long_load_repeats_its_contents() -> None:
    """It needs no more memory, however long it lasts."""
    hours = (Phase(name="soak", seconds=1e9, rate_per_s=100),)

    load = list(islice(requests(hours, model="m", seed=1), CONTENTS + 2))

    assert load[0].token_ids is load[CONTENTS].token_ids
    assert load[0].at_s < load[CONTENTS].at_s


@pytest.mark.parametrize(("name", "minutes"), [("basic", 25), ("spike", 10), ("stress", 58), ("soak", 120)])
def test_the_full_profile_takes_the_customary_times(name: str, minutes: float) -> None:
    """The stages' time limits and the weekly run are made for these."""
    assert PLANS[name]["full"].starts[-1] == minutes * 60


def test_the_quick_profile_takes_less_than_a_minute() -> None:
    """With the start of the clusters."""
    assert sum(plans["quick"].starts[-1] for plans in PLANS.values()) <= 40


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_a_spike_is_ten_times_the_rate_around_it(profile: str) -> None:
    """Before and after are alike, or their latencies could not be compared."""
    rates = {phase.name: phase.rate_per_s for phase in PLANS["spike"][profile].phases}

    assert rates["spike"] == 10 * rates["before"] == 10 * rates["after"]


def test_requests_of_a_changing_rate_arrive_more_and_more_often() -> None:
    """From 0 to 100 a second: a quarter of them in the first half of the time; the same from there down."""
    up, down = (
        list(arrivals([Phase(name="ramp", seconds=40, rate_per_s=one, to_per_s=other)], random.Random(1)))
        for one, other in ((0, 100), (100, 0))
    )

    assert 1850 < len(up) < 2150
    assert 420 < sum(at < 20 for at in up) < 580
    assert 420 < sum(at >= 20 for at in down) < 580
    assert up == sorted(up)
