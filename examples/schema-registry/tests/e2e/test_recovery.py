"""Backups and their restoring, caches that are warm, and what happens after a loss."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
PATIENT = {
    "REGISTRY_TOKENS": "admin=admin-of-the-tests",
    "REGISTRY_REDIS_TIMEOUT": "20",
    "REGISTRY_S3_TIMEOUT": "20",
    "REGISTRY_DATABASE_TIMEOUT": "40",
}
TOKEN = {"authorization": "Bearer admin-of-the-tests"}


@contextmanager
def another(**variables: str) -> Iterator[httpx.Client]:
    """Run one more registry on the same servers."""
    environ = {**os.environ, **PATIENT, **variables}
    command = [sys.executable, "-m", "registry", "--port", "0"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = next(
                found[0] for line in process.stderr or () if (found := re.search(r"http://[\w.:]+", line))
            )
            with httpx.Client(base_url=url, headers=TOKEN, timeout=30, trust_env=False) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=40)


def test_everything_is_restored_after_a_loss(api: Any, servers: Any, subject: str) -> None:
    """Versions, states, metadata, times and promises, in all levels, from a backup."""
    subjects = [f"{subject}-{number}" for number in range(3)]
    for name in subjects:
        api.promise(name, "full")
        api.register(name, SCHEMA, metadata={"of": name})
        api.register(name, {**SCHEMA, "title": "second"})
    api.deprecate(subjects[0], "1.0.0")
    api.delete(subjects[1], "1.0.1")
    before = [api.read(name, "1.0.0").json() for name in subjects]
    assert api.post("/admin/backups/before-the-loss").json()["records"] >= 6

    servers.database.execute(
        "TRUNCATE subjects, schemas, compatibility_checks, validations, unsettled CASCADE"
    )
    api.purge("memory", "redis", "s3")
    assert [api.read(name, "1.0.0").status_code for name in subjects] == [404] * 3

    assert api.post("/admin/backups/before-the-loss/restore").json()["added"] >= 6
    assert [api.read(name, "1.0.0").json() for name in subjects] == before
    assert api.read(subjects[1], "1.0.1").status_code == 410
    assert api.get(f"/subjects/{subjects[0]}/compatibility").json() == {"mode": "full"}
    deadline = time.monotonic() + 50
    while servers.has(subjects[2], "1.0.1") != (True, True, "active"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_restore_keeps_what_is_there(api: Any, subject: str) -> None:
    """What was registered after the backup stays, and nothing is added twice."""
    api.register(subject, SCHEMA)
    api.post("/admin/backups/twice")
    later = api.register(subject, {**SCHEMA, "title": "later"}).json()
    assert api.post("/admin/backups/twice/restore").json() == {"added": 0}
    assert api.read(subject, "latest").json() == later


def test_a_damaged_backup_is_not_restored(api: Any, servers: Any, subject: str) -> None:
    """Not even in part."""
    api.register(subject, SCHEMA)
    api.post("/admin/backups/damaged")
    found = servers.s3.get_object(Bucket=servers.bucket, Key="backups/damaged.jsonl")["Body"].read()
    servers.s3.put_object(Bucket=servers.bucket, Key="backups/damaged.jsonl", Body=found[:-40])
    assert api.post("/admin/backups/damaged/restore").status_code == 409


@pytest.mark.parametrize("name", ["a.b", "a%2Fb", "x" * 65])
def test_a_backup_has_a_plain_name(api: Any, name: str) -> None:
    """It becomes the name of an object."""
    assert api.post(f"/admin/backups/{name}").status_code in (400, 404)


def test_a_new_process_is_warm(api: Any, subject: str) -> None:
    """It answers what changed last from memory, and gets the rest when that is asked for."""
    api.register(f"{subject}-cold", SCHEMA)
    api.register(f"{subject}-warm", SCHEMA)
    with another(REGISTRY_WARM="1") as client:
        assert client.get(f"/subjects/{subject}-warm/versions/1.0.0").status_code == 200
        levels = client.get("/stats").json()["levels"]
        assert (levels["memory"]["hit"], levels["redis"]["hit"]) == (1, 0)
        for _ in range(2):
            assert client.get(f"/subjects/{subject}-cold/versions/1.0.0").status_code == 200
        levels = client.get("/stats").json()["levels"]
        assert (levels["memory"]["hit"], levels["redis"]["hit"]) == (2, 1)


def test_a_process_hears_what_another_one_deletes(api: Any, servers: Any, subject: str) -> None:
    """Although its memory would keep it for long."""
    api.register(subject, SCHEMA)
    with another(REGISTRY_MEMORY_TTL="3600") as client:
        deadline = time.monotonic() + 40
        while servers.redis.pubsub_numsub("schema-changes")[0][1] < 2:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)
        path = f"/subjects/{subject}/versions/1.0.0"
        assert client.get(path).status_code == 200
        api.delete(subject, "1.0.0")
        while client.get(path).status_code != 410:
            assert time.monotonic() < deadline, "it does not hear"
            time.sleep(0.02)


def test_a_process_without_its_settings_does_not_start() -> None:
    """It says everything that is missing."""
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://x"}
    command = [sys.executable, "-m", "registry"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "CACHE_URL is not set; OBJECTS_URL is not set" in done.stderr


def test_levels_are_measured(api: Any, subject: str) -> None:
    """Hits and misses, per level, for people and for Prometheus."""
    api.register(subject, SCHEMA)
    before = api.levels()
    for _ in range(10):
        api.read(subject, "1.0.0")
    after = api.levels()
    assert after["memory"]["hit"] - before["memory"]["hit"] == 10
    assert 'registry_level_requests_total{level="memory",result="hit"}' in api.get("/metrics").text
