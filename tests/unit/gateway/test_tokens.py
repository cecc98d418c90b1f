"""How long token ids are remembered."""

from kvsync.gateway.tokens import TokenCache


def test_least_recently_used_goes_first() -> None:
    """Beyond the number of entries the one that was not used for longest is dropped."""
    cache = TokenCache(2)
    cache.put(b"a", [1])
    cache.put(b"b", [2])
    assert cache.get(b"a") == [1]
    cache.put(b"c", [3])

    assert [cache.get(key) for key in (b"a", b"b", b"c")] == [[1], None, [3]]


def test_tokens_are_bounded() -> None:
    """Long texts displace others; the tokens kept never exceed their bound."""
    cache = TokenCache(100, max_tokens=10)
    cache.put(b"a", range(6))
    cache.put(b"b", range(4))
    cache.put(b"b", range(5))

    assert [cache.get(b"a"), cache.get(b"b")] == [None, range(5)]


def test_what_does_not_fit_is_not_kept() -> None:
    """A text longer than the whole cache, or a cache of no entries, keeps nothing."""
    tiny, none = TokenCache(100, max_tokens=10), TokenCache(0)
    tiny.put(b"a", range(11))
    none.put(b"a", range(1))

    assert (tiny.get(b"a"), none.get(b"a")) == (None, None)
