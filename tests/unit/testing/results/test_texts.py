"""Texts in places with little room."""

import json

from kvsync.testing.results.texts import laid_out, shortened


def test_a_short_text_stays_as_it_is() -> None:
    """Up to the limit nothing is cut."""
    assert shortened("abcd", 4) == "abcd"
    assert shortened("abcdef", 4) == "ab…[and 2 characters]…ef"


def test_json_with_a_line_for_each_value() -> None:
    """It is the same JSON, laid out down to a level."""
    value = {"stages": [{"name": "é", "checks": [{"a": 1, "b": []}, {"a": 2, "b": [1]}]}], "none": {}}
    text = laid_out(value)

    assert json.loads(text) == value
    assert '    {"a": 2, "b": [1]}' in text.splitlines()
