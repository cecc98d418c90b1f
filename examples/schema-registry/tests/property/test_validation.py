"""Ten properties of validation: what is valid by construction is valid, and what is not, is not."""

import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from registry.json_text import canonical
from registry.validation import problems_of
from tests.property.strategies import VALUES


def is_valid(document: Any, **schema: Any) -> bool:
    return problems_of(document, canonical(schema)) == []


@given(VALUES)
def test_strings(value: Any) -> None:
    """Texts are strings, and nothing else is."""
    assert is_valid(value, type="string") == isinstance(value, str)


@given(VALUES)
def test_numbers(value: Any) -> None:
    """Numbers are, and true is none; those without a fraction are integers."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    assert is_valid(value, type="number") == is_number
    assert is_valid(value, type="integer") == (is_number and value == int(value))


@given(VALUES)
def test_booleans(value: Any) -> None:
    """True and false are, 0 and 1 are not."""
    assert is_valid(value, type="boolean") == isinstance(value, bool)


@given(st.lists(VALUES, max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_arrays(value: list[Any], least: int, most: int) -> None:
    """As long as they may be, and each item as it has to be."""
    assert is_valid(value, type="array", minItems=least, maxItems=most) == (least <= len(value) <= most)
    assert is_valid(value, items={"type": "string"}) == all(isinstance(each, str) for each in value)


@given(st.dictionaries(st.sampled_from("abcd"), VALUES), st.sets(st.sampled_from("abcd")))
def test_required_fields(value: dict[str, Any], required: set[str]) -> None:
    """All of them are there, or each one that is not is told."""
    found = problems_of(value, canonical({"required": sorted(required)}))
    assert len(found) == len(required - set(value))


@given(st.integers(-50, 50) | st.floats(-50, 50), st.integers(-50, 50), st.integers(-50, 50))
def test_least_and_most(value: float, least: int, most: int) -> None:
    """Bounds are included, unless they are not."""
    assert is_valid(value, minimum=least, maximum=most) == (least <= value <= most)
    assert is_valid(value, exclusiveMinimum=least, exclusiveMaximum=most) == (least < value < most)


@given(st.text(max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_lengths_of_strings(value: str, least: int, most: int) -> None:
    """In characters, not in bytes."""
    assert is_valid(value, minLength=least, maxLength=most) == (least <= len(value) <= most)


@given(st.sampled_from(["^a", "b$", "^[0-9]+$", "a.c", r"\d{2}"]), st.text(alphabet="abc0189", max_size=6))
def test_patterns(pattern: str, value: str) -> None:
    """Found anywhere, unless they are anchored."""
    assert is_valid(value, pattern=pattern) == bool(re.search(pattern, value))


@given(st.lists(VALUES, min_size=1, max_size=4), VALUES)
def test_enumerations(values: list[Any], other: Any) -> None:
    """Each of the values is valid; what is not among them is not."""
    for value in values:
        assert is_valid(value, enum=values)
    assume(all(canonical(value) != canonical(other) and value != other for value in values))
    assert not is_valid(other, enum=values)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), VALUES)
def test_nested_objects(path: list[str], value: Any) -> None:
    """A problem is told where it is, at any depth."""
    schema: dict[str, Any] = {"type": "string"}
    document = value
    for name in reversed(path):
        schema = {"type": "object", "properties": {name: schema}, "required": [name]}
        document = {name: document}
    found = problems_of(document, canonical(schema))
    assert [problem["path"] for problem in found] == (
        [] if isinstance(value, str) else ["/" + "/".join(path)]
    )
