"""What becomes of a draft."""

from typing import Any

import pytest

from registry.compatibility import Mode
from registry.core import Accepted, Draft, Existing, Record, Refused, State, decide
from registry.errors import BadRequest
from registry.json_text import digest

TEXT = {"type": "object", "properties": {"a": {"type": "string"}}}
MORE = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
STRICT = {**MORE, "required": ["b"]}


def record(version: str, schema: Any, state: State = "active") -> Record:
    return Record(id=version, subject="s", version=version, schema=schema, digest=digest(schema), state=state)


def draft(schema: Any, version: str = "") -> Draft:
    return Draft(subject="s", schema=schema, version=version)


def test_the_first_version_is_1_0_0() -> None:
    """Without a version of its own, a new subject begins there."""
    assert decide(draft(TEXT), [], "backward") == Accepted("1.0.0")


def test_the_same_schema_is_not_registered_again() -> None:
    """With or without its version, what is there is returned."""
    known = record("1.0.0", TEXT)
    assert decide(draft(TEXT), [known], "full") == Existing(known)
    assert decide(draft(TEXT, "1.0.0"), [known], "full") == Existing(known)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [(MORE, "1.1.0"), (STRICT, "2.0.0"), ({**TEXT, "title": "T"}, "1.0.1")],
    ids=["minor", "major", "patch"],
)
def test_the_next_version_follows_from_the_change(schema: Any, expected: str) -> None:
    """A new field is a minor version, a new duty a major one, a title a patch."""
    decision = decide(draft(schema), [record("1.0.0", TEXT)], "backward")
    assert isinstance(decision, Accepted)
    assert decision.version == expected


def test_a_breaking_change_needs_a_new_major_version() -> None:
    """Within a major version the promise is kept; a new one may break it."""
    known = [record("1.0.0", TEXT)]
    refused = decide(draft(STRICT, "1.1.0"), known, "backward")
    assert isinstance(refused, Refused)
    assert refused.problems == (
        "1.0.0: the new version cannot read old documents: /b: the field became required",
    )
    assert decide(draft(STRICT, "2.0.0"), known, "backward") == Accepted("2.0.0")


def test_a_version_is_given_once() -> None:
    """Another schema cannot take a version, not even that of a deleted one."""
    taken = decide(draft(MORE, "1.0.0"), [record("1.0.0", TEXT)], "none")
    deleted = decide(draft(TEXT, "1.0.0"), [record("1.0.0", TEXT, "deleted")], "none")
    assert isinstance(taken, Refused)
    assert "has another schema" in taken.why
    assert isinstance(deleted, Refused)
    assert "is not given again" in deleted.why


def test_deleted_versions_bind_nobody() -> None:
    """They are not compared with, and their numbers are stepped over."""
    decision = decide(draft(STRICT), [record("1.0.0", TEXT, "deleted")], "backward")
    assert decision == Accepted("1.0.1")


def test_only_transitive_modes_look_at_all_versions() -> None:
    """The last one may be compatible while an older one is not."""
    history = [record("1.0.0", {**TEXT, "properties": {"b": {"type": "string"}}}), record("1.1.0", TEXT)]
    assert isinstance(decide(draft(MORE, "1.2.0"), history, "backward"), Accepted)
    assert isinstance(decide(draft(MORE, "1.2.0"), history, "backward_transitive"), Refused)


def test_a_maintained_version_is_compared_with_those_before_it() -> None:
    """1.1.0 can be added after 2.0.0, and has nothing to do with it."""
    history = [record("1.0.0", TEXT), record("2.0.0", {"type": "array"})]
    decision = decide(draft(MORE, "1.1.0"), history, "full_transitive")
    assert isinstance(decision, Accepted)
    assert [finding.version for finding in decision.findings] == ["1.0.0"]


@pytest.mark.parametrize("mode", ["none", "backward", "full_transitive"])
def test_a_malformed_version_is_refused(mode: Mode) -> None:
    """In every mode."""
    with pytest.raises(BadRequest, match="semantic version"):
        decide(draft(TEXT, "one"), [], mode)
