"""Semantic versions: what is one, and which comes next."""

import pytest

from registry.core import parse_version, precedence
from registry.core.versions import next_version
from registry.errors import BadRequest


@pytest.mark.parametrize("text", ["0.0.0", "1.4.0", "10.20.30", "2.0.0-rc.1", "1.0.0-alpha"])
def test_versions_are_read(text: str) -> None:
    """What semver.org calls a version is one."""
    assert str(parse_version(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "v1.2.3", "01.2.3", "1.2.3.4", "1.2.x", "latest", " 1.2.3", "1.2.3+build", "1.-2.3"],
)
def test_anything_else_is_refused(text: str) -> None:
    """No other text is one, nor is one with build metadata, which has no place in the order."""
    with pytest.raises(BadRequest):
        parse_version(text)


def test_versions_too_long_or_too_large_are_refused() -> None:
    """They have to fit the database."""
    for text in ("1.0.0-" + "a" * 80, "2147483648.0.0"):
        with pytest.raises(BadRequest, match=r"longer or larger|is not a semantic version"):
            parse_version(text)


def test_order_is_by_number_and_prereleases_come_first() -> None:
    """1.10.0 comes after 1.9.0, and 2.0.0-rc.1 before 2.0.0."""
    given = ["2.0.0", "1.10.0", "2.0.0-rc.1", "1.9.0", "2.0.0-rc.1.1"]
    assert sorted(given, key=precedence) == ["1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0-rc.1.1", "2.0.0"]


@pytest.mark.parametrize(
    ("is_breaking", "is_same", "expected"),
    [(True, False, "2.0.0"), (False, False, "1.5.0"), (False, True, "1.4.3")],
    ids=["major", "minor", "patch"],
)
def test_next_version_says_what_changed(is_breaking: bool, is_same: bool, expected: str) -> None:
    """What breaks readers is a major version, annotations alone are a patch."""
    assert next_version("1.4.2", is_breaking=is_breaking, is_same_contract=is_same) == expected
