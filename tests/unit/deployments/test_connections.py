"""Who leaves when a receiver has too many connections, or holds too much of unfinished bodies."""

from dataclasses import dataclass

from deployments.connections import too_many, too_much


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as the decision sees it."""

    address: str
    since: float
    held: int = 0
    is_receiving: bool = True


OLD, NEW = Connection("10.0.0.1", 1.0), Connection("10.0.0.1", 3.0)
ALONE = Connection("192.0.2.1", 0.0)
BUSY = Connection("10.0.0.1", 0.0, is_receiving=False)


def test_the_oldest_of_the_largest_crowd_makes_room() -> None:
    """Neither the one that is alone at its address, nor one that is being answered."""
    assert too_many([NEW, OLD, ALONE, BUSY], 3) == OLD


def test_all_stay_while_there_is_room() -> None:
    """And what is being answered stays in any case."""
    assert too_many([NEW, OLD], 2) is None
    assert too_many([BUSY, BUSY], 1) is None


def test_the_slowest_body_makes_room() -> None:
    """GitHub's bodies come at once; who sends none holds nothing."""
    slow, fast = Connection("10.0.0.1", 1.0, held=100), Connection("10.0.0.1", 2.0, held=100)

    assert too_much([fast, slow, ALONE], 150) == slow
    assert too_much([fast, ALONE, Connection("10.0.0.2", 0.0, held=100, is_receiving=False)], 150) is None
