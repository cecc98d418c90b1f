"""A schema's life, from its registration to its deletion."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["id"],
}
LARGER = {**ORDER, "properties": {**ORDER["properties"], "price": {"type": "number"}}}


def test_a_whole_life(api: Any, servers: Any, subject: str) -> None:
    """Registered, stored in all levels, read, followed by a new version, deprecated, deleted."""
    registered = api.register(subject, ORDER, "1.0.0", metadata={"team": "shop"})
    assert registered.status_code == 201
    assert servers.has(subject, "1.0.0") == (True, True, "active")
    assert api.read(subject, "1.0.0").json() == registered.json()
    assert api.register(subject, LARGER, "1.1.0").status_code == 201
    assert api.deprecate(subject, "1.0.0").json()["state"] == "deprecated"
    assert servers.has(subject, "1.0.0") == (True, True, "deprecated")
    assert api.delete(subject, "1.0.0").status_code == 204
    assert servers.has(subject, "1.0.0") == (False, False, "deleted")
    assert api.read(subject, "1.0.0").status_code == 410
    assert api.versions(subject) == ["1.1.0"]


def test_a_new_version_has_everything_that_was_sent(api: Any, subject: str) -> None:
    """And an id, a digest, times and a revision."""
    record = api.register(subject, ORDER, "1.2.3", metadata={"a": [1]}).json()
    assert (record["subject"], record["version"], record["schema"]) == (subject, "1.2.3", ORDER)
    assert (record["metadata"], record["state"], record["revision"]) == ({"a": [1]}, "active", 1)
    assert len(record["id"]) == 36
    assert len(record["digest"]) == 64
    assert record["created_at"] == record["updated_at"] <= time.time() + 60


def test_registering_again_changes_nothing(api: Any, subject: str) -> None:
    """The answer is 200 instead of 201, and the same."""
    first = api.register(subject, ORDER)
    second = api.register(subject, dict(reversed(ORDER.items())))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_a_version_is_read_by_its_id(api: Any, subject: str) -> None:
    """As well as by its name."""
    record = api.register(subject, ORDER).json()
    assert api.get(f"/schemas/{record['id']}").json() == record


def test_the_latest_version_is_read(api: Any, subject: str) -> None:
    """It is the one that was registered last, here."""
    for schema in (ORDER, LARGER):
        api.register(subject, schema)
    assert api.read(subject, "latest").json()["version"] == "1.1.0"


def test_a_client_that_has_a_version_does_not_get_it_again(api: Any, subject: str) -> None:
    """Until it changes."""
    tag = api.register(subject, ORDER).headers["etag"]
    path = f"/subjects/{subject}/versions/1.0.0"
    assert api.client.get(path, headers={"if-none-match": tag}).status_code == 304
    api.deprecate(subject, "1.0.0")
    assert api.client.get(path, headers={"if-none-match": tag}).status_code == 200


def test_subjects_are_listed_by_pages(api: Any, subject: str) -> None:
    """Each page says what to ask for next."""
    for number in range(3):
        api.register(f"{subject}-{number}", ORDER)
    first = api.get("/subjects", after=f"{subject}-", limit=2).json()
    assert first == {"subjects": [f"{subject}-0", f"{subject}-1"], "next": f"{subject}-1"}
    assert api.get("/subjects", after=first["next"], limit=1).json()["subjects"] == [f"{subject}-2"]


def test_versions_are_found_by_metadata(api: Any, subject: str) -> None:
    """By what these contain."""
    api.register(subject, ORDER, metadata={"test": subject, "tags": ["a", "b"]})
    found = api.get("/schemas", metadata=f'{{"test": "{subject}", "tags": ["b"]}}').json()["schemas"]
    assert [(each["subject"], each["version"]) for each in found] == [(subject, "1.0.0")]
    assert api.get("/schemas", metadata=f'{{"test": "{subject}", "tags": ["c"]}}').json()["schemas"] == []


def test_a_deprecated_version_is_served_and_says_so(api: Any, subject: str) -> None:
    """In a header, so that clients can warn."""
    assert "deprecation" not in api.register(subject, ORDER).headers
    api.deprecate(subject, "1.0.0")
    answer = api.read(subject, "1.0.0")
    assert answer.status_code == 200
    assert answer.headers["deprecation"] == f"@{int(answer.json()['updated_at'])}"


def test_deprecating_twice_changes_nothing(api: Any, subject: str) -> None:
    """The second answer is the first."""
    api.register(subject, ORDER)
    assert api.deprecate(subject, "1.0.0").json() == api.deprecate(subject, "1.0.0").json()


def test_a_deprecated_version_is_deleted(api: Any, subject: str) -> None:
    """As is one that was never deprecated."""
    api.register(subject, ORDER)
    api.deprecate(subject, "1.0.0")
    assert api.delete(subject, "1.0.0").status_code == 204
    assert api.read(subject, "latest").status_code == 404


def test_a_deleted_version_stays_deleted(api: Any, subject: str) -> None:
    """It is not deprecated, deleted, or registered again."""
    api.register(subject, ORDER)
    api.delete(subject, "1.0.0")
    assert api.deprecate(subject, "1.0.0").status_code == 410
    assert api.delete(subject, "1.0.0").status_code == 410
    assert api.register(subject, ORDER, "1.0.0").status_code == 409
    assert api.register(subject, ORDER).json()["version"] == "1.0.1"


def test_deleted_versions_are_listed_on_request(api: Any, subject: str) -> None:
    """With their state."""
    api.register(subject, ORDER)
    api.delete(subject, "1.0.0")
    listed = api.get(f"/subjects/{subject}/versions", deleted="true").json()["versions"]
    assert [(each["version"], each["state"]) for each in listed] == [("1.0.0", "deleted")]
    assert api.versions(subject) == []


def test_a_deletion_is_seen_whatever_was_cached(api: Any, subject: str) -> None:
    """By the reader that just had the version from memory, too."""
    api.register(subject, ORDER)
    for _ in range(3):
        assert api.read(subject, "1.0.0").status_code == 200
    api.delete(subject, "1.0.0")
    for levels in ([], ["memory"], ["memory", "redis"]):
        api.purge(*levels)
        assert api.read(subject, "1.0.0").status_code == 410


def test_clients_register_at_the_same_time(api: Any, subject: str) -> None:
    """Twelve at once, of four schemas: each becomes one version, and all clients agree on which."""
    schemas = [{**ORDER, "title": f"order {n}"} for n in range(4)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: api.register(subject, schemas[n % 4], f"1.0.{n % 4}"), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [201] * 4
    assert api.versions(subject) == ["1.0.0", "1.0.1", "1.0.2", "1.0.3"]


def test_clients_register_without_versions_at_the_same_time(api: Any, subject: str) -> None:
    """No version is given twice."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: api.register(subject, {**ORDER, "title": f"{n}"}), range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == [f"1.0.{n}" for n in range(8)]


def test_reads_and_writes_at_the_same_time_agree(api: Any, subject: str) -> None:
    """Who reads while versions are deprecated sees each before or after, and in the end all after."""
    for number in range(5):
        api.register(subject, {**ORDER, "title": f"{number}"})

    def act(number: int) -> str:
        version = f"1.0.{number % 5}"
        return (api.deprecate if number % 3 == 0 else api.read)(subject, version).json()["state"]

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(act, range(60))) <= {"active", "deprecated"}
    assert {api.read(subject, f"1.0.{n}").json()["state"] for n in range(5)} == {"deprecated"}
