"""Several versions of one subject."""

from typing import Any

BASE = {"type": "object", "properties": {"a": {"type": "string"}}}


def titled(title: str) -> dict[str, Any]:
    return {**BASE, "title": title}


def test_a_schema_evolves(api: Any, subject: str) -> None:
    """1.0.0, a compatible 1.1.0, a breaking 2.0.0, and all of them are there."""
    larger = {**BASE, "properties": {**BASE["properties"], "b": {"type": "integer"}}}
    breaking = {**larger, "required": ["b"]}
    assert api.register(subject, BASE, "1.0.0").status_code == 201
    assert api.check(subject, larger, "1.1.0")["compatible"]
    assert api.register(subject, larger, "1.1.0").status_code == 201
    assert api.register(subject, breaking, "1.2.0").status_code == 409
    assert api.register(subject, breaking, "2.0.0").status_code == 201
    assert api.versions(subject) == ["1.0.0", "1.1.0", "2.0.0"]


def test_versions_are_in_semantic_order(api: Any, subject: str) -> None:
    """Not in that of texts, or of time."""
    for version in ("1.10.0", "1.9.0", "2.0.0-rc.1", "1.9.1"):
        assert api.register(subject, titled(version), version).status_code == 201
    assert api.versions(subject) == ["1.9.0", "1.9.1", "1.10.0", "2.0.0-rc.1"]


def test_the_latest_version_is_no_prerelease(api: Any, subject: str) -> None:
    """Unless there are only prereleases."""
    api.register(subject, titled("a"), "1.0.0-rc.1")
    assert api.read(subject, "latest").json()["version"] == "1.0.0-rc.1"
    api.register(subject, titled("b"), "1.0.0")
    api.register(subject, titled("c"), "1.1.0-rc.1")
    assert api.read(subject, "latest").json()["version"] == "1.0.0"


def test_an_older_line_is_maintained(api: Any, subject: str) -> None:
    """1.1.0 is registered after 2.0.0, and the latest stays 2.0.0."""
    api.register(subject, BASE, "1.0.0")
    api.register(subject, {"type": "array"}, "2.0.0")
    assert api.register(subject, titled("maintained"), "1.1.0").status_code == 201
    assert api.read(subject, "latest").json()["version"] == "2.0.0"


def test_each_version_keeps_its_own_schema(api: Any, subject: str) -> None:
    """Twenty of them, read back from the database as well as from memory."""
    for number in range(20):
        api.register(subject, titled(f"{number}"), f"1.{number}.0")
    for levels in ([], ["memory", "redis", "s3"]):
        api.purge(*levels)
        for number in (0, 7, 19):
            assert api.read(subject, f"1.{number}.0").json()["schema"] == titled(f"{number}")


def test_a_version_is_not_given_twice(api: Any, subject: str) -> None:
    """Not even to a compatible schema."""
    api.register(subject, BASE, "1.0.0")
    answer = api.register(subject, titled("other"), "1.0.0")
    assert answer.status_code == 409
    assert "has another schema" in answer.json()["error"]


def test_the_latest_one_falls_back_when_it_is_deleted(api: Any, subject: str) -> None:
    """To the one before."""
    api.register(subject, titled("a"), "1.0.0")
    api.register(subject, titled("b"), "1.1.0")
    api.delete(subject, "1.1.0")
    assert api.read(subject, "latest").json()["version"] == "1.0.0"


def test_subjects_do_not_meet(api: Any, subject: str) -> None:
    """The same version of two subjects is two records."""
    first = api.register(f"{subject}-a", titled("a"), "1.0.0").json()
    second = api.register(f"{subject}-b", titled("b"), "1.0.0").json()
    assert first["id"] != second["id"]
    api.delete(f"{subject}-a", "1.0.0")
    assert api.read(f"{subject}-b", "1.0.0").json() == second
