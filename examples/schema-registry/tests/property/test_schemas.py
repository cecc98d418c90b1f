"""Ten properties of schemas and their records."""

import json
from typing import Any
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st
from semver import Version

from registry.core import Draft, Key, Record, decide, new_id, parse_version, precedence
from registry.core.registration import Accepted
from registry.json_text import canonical, digest, read_json
from registry.validation import problems_of, require_schema, subschemas
from tests.property.strategies import JSON, OBJECTS, SCHEMAS

NUMBER = st.integers(0, 2**31 - 1)


def shuffled(value: Any) -> Any:
    """Return an equal value whose names are in another order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(JSON, st.dictionaries(st.text(), JSON, max_size=3))
def test_json_comes_back_as_it_was(schema: Any, metadata: dict[str, Any]) -> None:
    """Roundtrip: what is encoded is decoded, whatever is in it."""
    record = Record(id="i", subject="s", version="1.0.0", schema=schema, digest="d", metadata=metadata)
    assert Record.decode(record.encode()) == record
    assert read_json(canonical(schema).encode()) == schema


@given(JSON)
def test_a_digest_is_the_same_every_time(schema: Any) -> None:
    """Determinism: the order of names does not count, nor how often it is computed."""
    assert digest(schema) == digest(shuffled(schema)) == digest(json.loads(json.dumps(schema)))


@given(JSON, JSON)
def test_another_content_has_another_digest(first: Any, second: Any) -> None:
    """And the same has the same."""
    assert (digest(first) == digest(second)) == (canonical(first) == canonical(second))


@given(NUMBER, NUMBER, NUMBER, st.sampled_from(["", "-rc.1", "-alpha", "-0.x"]))
def test_semantic_versions_are_read_and_written(major: int, minor: int, patch: int, pre: str) -> None:
    """Versioning: each number is where it belongs, and the order is that of semver.org."""
    version = parse_version(f"{major}.{minor}.{patch}{pre}")
    assert str(version) == f"{major}.{minor}.{patch}{pre}"
    assert (version.major, version.minor, version.patch) == (major, minor, patch)
    assert precedence(str(version)) <= Version(major, minor, patch) < version.bump_major().bump_patch()


@given(st.integers(2, 300))
def test_ids_are_unique(count: int) -> None:
    """Uniqueness: each is a UUID, and no two are the same."""
    ids = {new_id() for _ in range(count)}
    assert len(ids) == count
    assert {UUID(each).version for each in ids} == {4}


@given(SCHEMAS)
def test_every_part_of_a_schema_is_looked_through(schema: Any) -> None:
    """Validity: what may be registered is a schema, and so is each part of it."""
    assume(isinstance(schema, dict))
    require_schema(schema)
    for _, part in subschemas(schema):
        require_schema(part)


@given(st.sampled_from("abc"), st.sampled_from("abc"), NUMBER, NUMBER)
def test_different_versions_have_different_keys(first: str, second: str, one: int, other: int) -> None:
    """Identifiers: a key is of one subject and one version, and its text says which."""
    keys = Key(first, f"{one}.0.0"), Key(second, f"{other}.0.0")
    assert (str(keys[0]) == str(keys[1])) == (keys[0] == keys[1]) == ((first, one) == (second, other))
    assert Key(*str(keys[0]).split("/")) == keys[0]


@given(OBJECTS)
def test_required_fields_are_among_the_properties(schema: Any) -> None:
    """Subset: of the schemas that are drawn here, and a reader of one can always write such a document."""
    assert set(schema["required"]) <= set(schema["properties"])
    require_schema(schema)


@given(st.booleans(), st.text(min_size=1, max_size=5))
def test_additional_properties_are_allowed_or_not(allowed: bool, name: str) -> None:
    """As the schema says, whatever they are called."""
    schema = {"properties": {}, "additionalProperties": allowed}
    assert (problems_of({name: 1}, canonical(schema)) == []) == allowed


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_later_registrations_have_later_versions(titles: list[int]) -> None:
    """Ordering: each version that is given is above all before it."""
    records: list[Record] = []
    for number, title in enumerate(titles):
        schema = {"title": str(title), "properties": {f"p{title % 3}": {"type": "string"}}}
        decision = decide(Draft(subject="s", schema=schema), records, "none")
        if isinstance(decision, Accepted):
            assert all(precedence(decision.version) > precedence(record.version) for record in records)
            records.append(
                Record(
                    id=str(number),
                    subject="s",
                    version=decision.version,
                    schema=schema,
                    digest=digest(schema),
                    created_at=float(number),
                )
            )
    assert sorted(records, key=lambda r: precedence(r.version)) == sorted(records, key=lambda r: r.created_at)
