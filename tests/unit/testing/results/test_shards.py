"""How tests are shared, by figures that can be followed."""

from kvsync.testing.results.shards import file_times, in_no_shard, shared


def test_longest_first_to_the_one_with_least_to_do() -> None:
    """7 | 6 | 5, then 4 to the third, 3 to the second, 2 to the first."""
    times = {"a": 7.0, "b": 6.0, "c": 5.0, "d": 4.0, "e": 3.0, "f": 2.0}

    assert shared(times, 3) == [{"a", "f"}, {"b", "e"}, {"c", "d"}]


def test_a_test_without_a_record_takes_as_long_as_the_median() -> None:
    """Of the tests that there are; without any record each counts one."""
    tests = ["a::1", "a::2", "b::1", "b::new", "c::new"]
    recorded = {"a::1": 1.0, "a::2": 2.0, "b::1": 9.0, "gone::1": 1000.0}

    assert file_times(tests, recorded) == {"a": 3.0, "b": 11.0, "c": 2.0}
    assert file_times(tests, {}) == {"a": 2.0, "b": 2.0, "c": 1.0}


def test_more_shards_than_files() -> None:
    """Some have nothing, which their stage says; files that take no time are spread all the same."""
    assert shared({"a": 0.0, "b": 0.0}, 3) == [{"a"}, {"b"}, frozenset()]


def test_what_is_in_none_of_them() -> None:
    """In the order in which it was found."""
    assert in_no_shard(["a", "b", "c"], [{"b"}, set()]) == ["a", "c"]
