"""The limit on repeated log lines."""

from kvsync.ratelimit import RateLimit


def test_one_is_let_through_per_interval_and_the_others_are_counted() -> None:
    """The first passes, the next of the same interval are held back, the following one says how many."""
    times = iter([0.0, 1.0, 9.9, 10.0, 10.1, 30.0])
    limit = RateLimit(10.0, lambda: next(times))

    assert [limit.admit() for _ in range(6)] == [0, None, None, 2, None, 1]


def test_no_interval_lets_everything_through() -> None:
    """An interval of zero does not limit anything."""
    limit = RateLimit(0.0, lambda: 5.0)

    assert [limit.admit() for _ in range(3)] == [0, 0, 0]
