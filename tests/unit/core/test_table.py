"""The compiled core's table against a dict."""

import pickle
import random

import pytest

from kvsync import core

pytestmark = pytest.mark.skipif(core.built is None, reason="the compiled core was not built here")


def test_it_holds_what_a_dict_does() -> None:
    """Numbers of any width come, change and go, over many segments; those of 0 and 2**64 - 1 as well."""
    assert core.built
    rng, table, expected = random.Random(1), core.built.Table(), dict[int, int]()
    keys = [0, 2**64 - 1, *(rng.getrandbits(64) for _ in range(9000))]
    for step in range(30_000):
        key = rng.choice(keys)
        if step % 3 == 2 and key in expected:
            assert table.pop(key) == expected.pop(key)
        else:
            table[key] = expected[key] = 1 << rng.choice((0, 1, 63, 64, 200))
    assert (len(table), dict(table), table.copy()) == (len(expected), expected, expected)
    assert [table.get(key, -1) for key in keys] == [expected.get(key, -1) for key in keys]
    assert all((key in table) is (key in expected) for key in keys)
    assert pickle.loads(pickle.dumps(table)).copy() == expected  # noqa: S301 - our own
    for key in expected:
        del table[key]
    assert (len(table), table.__sizeof__()) == (0, core.built.Table().__sizeof__())


@pytest.mark.parametrize("key", [-1, 2**64, "1", None])
def test_what_is_no_hash_is_not_in_it(key: object) -> None:
    """It is not found, as in a dict without it, and cannot be put in."""
    assert core.built
    table = core.built.Table()
    assert (key in table, table.get(key)) == (False, None)
    with pytest.raises(KeyError):
        table.pop(key)
    with pytest.raises(KeyError):
        del table[key]
    with pytest.raises(OverflowError):
        table[key] = 1
    with pytest.raises(OverflowError):
        table[1] = -1
