"""Texts in places with little room."""

from kvsync.testing.results.texts import shortened


def test_a_short_text_stays_as_it_is() -> None:
    """Up to the limit nothing is cut."""
    assert shortened("abcd", 4) == "abcd"
    assert shortened("abcdef", 4) == "ab…[and 2 characters]…ef"
