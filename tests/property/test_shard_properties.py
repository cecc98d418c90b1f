"""Shards: whatever tests there are and however long they took, each is in exactly one."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kvsync.testing.results.shards import file_of, file_times, in_no_shard, shared

TESTS = st.lists(st.builds("{}.py::test_{}".format, st.integers(0, 12), st.integers(0, 9)), unique=True)
SECONDS = st.floats(0, 1e5, allow_nan=False)


@given(TESTS, st.data(), st.integers(2, 20))
def test_each_test_is_in_exactly_one_shard(tests: list[str], data: st.DataObject, shards: int) -> None:
    """Also such that are not recorded; what is recorded and gone makes no difference to that."""
    recorded = st.sampled_from([*tests, "gone.py::test_gone"])
    times = file_times(tests, data.draw(st.dictionaries(recorded, SECONDS)))
    parts = shared(times, shards)

    files = Counter(file for part in parts for file in part)
    assert len(parts) == shards
    assert files == Counter({file_of(test) for test in tests})
    assert in_no_shard(map(file_of, tests), parts) == []


@given(st.dictionaries(st.text(min_size=1, max_size=3), SECONDS), st.integers(2, 20))
def test_no_shard_has_more_than_another_by_more_than_a_file(times: dict[str, float], shards: int) -> None:
    """As the longest comes first, the difference is at most what the largest file takes."""
    loads = [sum(times[file] for file in part) for part in shared(times, shards)]

    assert max(loads) - min(loads) <= max(times.values(), default=0.0) + 1e-6


@given(TESTS, st.dictionaries(st.sampled_from(["1.py::test_1", "2.py::test_2"]), SECONDS), st.randoms())
def test_the_order_in_which_tests_are_found_does_not_matter(
    tests: list[str], durations_s: dict[str, float], random: object
) -> None:
    """Machines that know the same share in the same way."""
    other = sorted(tests, key=lambda _: random.random())  # type: ignore[attr-defined]  # it is a Random

    assert shared(file_times(other, durations_s), 3) == shared(file_times(tests, durations_s), 3)
