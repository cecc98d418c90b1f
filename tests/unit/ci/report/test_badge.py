"""A badge is well-formed whatever it says, wide enough and small."""

from xml.etree import ElementTree

import pytest

from kvsync.ci.report.badge import COLOURS, badge
from kvsync.testing.results.outcome import Outcome

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("passed", "passed"),
        ("</text><script>alert(1)</script>", "</text><script>alert(1)</script>"),
        ("\"' onload='x", "\"' onload='x"),
        ("{colour} &amp;", "{colour} &amp;"),
        ("a\x00\x1b\ud800\ufffe\nb", "a b"),
        ("x" * 1000, "x" * 59 + "…"),
        ("", ""),
    ],
    ids=ascii,
)
def test_any_text_stays_text(text: str, shown: str) -> None:
    """It is XML with two texts and no other element; what cannot be in XML is left out."""
    written = badge(text, text, Outcome.PASSED, title=text * 10)
    root = ElementTree.fromstring(written)  # noqa: S314  # ours

    assert [each.text or "" for each in root.iter(f"{SVG}text")] == [shown, shown]
    assert [each.tag.removeprefix(SVG) for each in root.iter()] == [
        *("svg", "title", "rect", "path", "g", "text", "text")
    ]
    assert len(written.encode()) < 4096


def test_each_text_has_its_room() -> None:
    """Seven pixels for a character, twice as many for a wide one, five on each side."""
    root = ElementTree.fromstring(badge("unit", "日本", None))  # noqa: S314  # ours
    texts = [(each.get("x"), each.get("textLength")) for each in root.iter(f"{SVG}text")]

    assert texts == [("5", "28"), ("43", "28")]
    assert root.get("width") == str(38 + 38)


def test_outcomes_differ_in_colour() -> None:
    """And in words, for those who do not see colours."""
    assert len(set(COLOURS.values())) == len({*Outcome, None})
