"""What the requests of steady states are drawn by."""

from kvsync.ci.chaos.steady import seed_during


def test_each_fault_has_requests_of_its_own() -> None:
    """The same in every run with this seed, and others with another."""
    seeds = {(fault, seed): seed_during(fault, seed) for fault in ("a", "b", "a2") for seed in (0, 1, 20)}

    assert len(set(seeds.values())) == len(seeds)
    assert seed_during("a", 1) == seeds["a", 1]
    assert min(seeds.values()) >= 0
