"""Options of a simulator are checked when they are made."""

import pytest

from kvsync.errors import ConfigError
from kvsync.simulator.options import SimulatorOptions


def test_every_problem_is_reported() -> None:
    """All wrong options are named at once."""
    with pytest.raises(ConfigError) as caught:
        SimulatorOptions(name="a", model="", capacity=0, port=70_000, time_scale=-1, loras=("x", "x"))

    assert caught.value.problems == (
        "model: must not be empty",
        "capacity: 0 is less than 1",
        "time_scale: -1 is less than 0",
        "port: 70000 is not a port number",
        "loras: names must differ from each other and from the model, got x, x",
    )


def test_longest_request_fits_into_the_cache() -> None:
    """A request that could never be scheduled is refused, so the model's length is cut to the cache."""
    assert SimulatorOptions(name="a", model="m", capacity=10, block_size=16).card.max_model_len == 160
    assert SimulatorOptions(name="a", model="m", capacity=10, max_model_len=99).card.max_model_len == 99


@pytest.mark.parametrize(
    ("host", "rank", "endpoint"),
    [("127.0.0.1", 0, "tcp://127.0.0.1:5557"), ("::1", 2, "tcp://[::1]:5559")],
    ids=["IPv4", "IPv6, rank 2"],
)
def test_endpoint_has_the_port_of_the_rank(host: str, rank: int, endpoint: str) -> None:
    """Each rank publishes on the next port; an IPv6 address gets brackets."""
    assert SimulatorOptions(name="a", model="m", host=host, dp_rank=rank).endpoint(5557) == endpoint
