"""How busy a pod is, by this gateway's requests and by what its engine says."""

from contextlib import ExitStack

from kvsync.gateway.load import RunningRequests


class Time:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def test_requests_of_others_count_for_a_while() -> None:
    """What the engine has beyond our own is others'; our own are known better than it can tell."""
    clock = Time()
    load = RunningRequests(fresh_s=3.0, clock=clock)
    with ExitStack() as ours:
        for _ in range(2):
            ours.enter_context(load.running("a"))
        load.reported("a", {0: 5})
        assert (load.of("a"), load.total("a"), load.total("b")) == (2, 5, 0)
        ours.enter_context(load.running("a"))
        assert load.total("a") == 6
    assert load.total("a") == 3

    clock.now_s = 3.0
    assert load.total("a") == 0


def test_requests_on_their_way_are_not_counted_twice() -> None:
    """An engine that has not seen our requests yet says less than we know."""
    load = RunningRequests(fresh_s=3.0, clock=Time())
    with load.running("a"), load.running("a"):
        load.reported("a", {0: 1})
        assert load.total("a") == 2


def test_each_rank_has_its_own_load() -> None:
    """Requests of others are at the rank that has them, and all at the pod."""
    load = RunningRequests(fresh_s=3.0, clock=Time())
    with load.running("a", 1):
        load.reported("a", {0: 4, 1: 3})
        assert (load.total("a", 0), load.total("a", 1), load.total("a")) == (4, 3, 7)


def test_what_engines_say_counts_only_where_it_is_wanted() -> None:
    """Without a time for which it is fresh it is never believed; pods that are gone are forgotten."""
    load = RunningRequests()
    load.reported("a", {0: 5})
    assert load.total("a") == 0

    load = RunningRequests(fresh_s=3.0, clock=Time())
    load.reported("a", {0: 5})
    load.keep({"b"})
    assert load.total("a") == 0


def test_what_siblings_run_counts_until_they_say_otherwise() -> None:
    """An engine that counts all of them does not make them count twice."""
    load = RunningRequests(fresh_s=3.0, clock=Time())
    with load.running("a", 1):
        load.note_siblings({("a", None): 2, ("a", 0): 2, ("b", None): 1})

        assert (load.of("a"), load.total("a"), load.total("a", 0), load.total("b")) == (1, 3, 2, 1)
        load.reported("a", {0: 2, 1: 1})
        assert load.total("a") == 3
        assert load.counts() == {("a", None): 1, ("a", 1): 1}
    load.note_siblings({})
    assert load.total("b") == 0
