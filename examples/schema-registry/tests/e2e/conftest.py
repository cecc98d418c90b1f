"""A registry that runs as its users have it, and clients of it and of the servers behind it."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import psycopg
import pytest
import redis
from botocore.config import Config

COUNTER = itertools.count()


class Api:
    """Speaks to the registry; each method returns the answer, whatever its status."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(path, params=query)

    def post(self, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.client.post(path, json=body, params=query)

    def register(self, subject: str, schema: Any, version: str = "", **fields: Any) -> httpx.Response:
        body = {"schema": schema, **({"version": version} if version else {}), **fields}
        return self.post(f"/subjects/{subject}/versions", body)

    def read(self, subject: str, version: str) -> httpx.Response:
        return self.get(f"/subjects/{subject}/versions/{version}")

    def versions(self, subject: str) -> list[str]:
        listed = self.get(f"/subjects/{subject}/versions").json()["versions"]
        return [each["version"] for each in listed]

    def deprecate(self, subject: str, version: str) -> httpx.Response:
        return self.post(f"/subjects/{subject}/versions/{version}/deprecate")

    def delete(self, subject: str, version: str) -> httpx.Response:
        return self.client.delete(f"/subjects/{subject}/versions/{version}")

    def validate(self, subject: str, version: str, document: Any, **query: Any) -> httpx.Response:
        return self.post(f"/subjects/{subject}/versions/{version}/validate", {"document": document}, **query)

    def promise(self, subject: str, mode: str) -> httpx.Response:
        return self.client.put(f"/subjects/{subject}/compatibility", json={"mode": mode})

    def check(self, subject: str, schema: Any, version: str = "") -> Any:
        body = {"schema": schema, **({"version": version} if version else {})}
        return self.post(f"/subjects/{subject}/check", body).json()

    def purge(self, *levels: str) -> None:
        assert self.post("/admin/purge", {"levels": list(levels)}).status_code == 204

    def levels(self) -> Any:
        return self.get("/stats").json()["levels"]


@dataclass(frozen=True, slots=True)
class Servers:
    """What is behind the registry."""

    database: psycopg.Connection[Any]
    redis: redis.Redis
    s3: Any
    bucket: str

    def has(self, subject: str, version: str) -> tuple[bool, bool, str]:
        """Say whether Redis and S3 have a version, and its state in the database."""
        query = "SELECT state FROM schemas WHERE subject = %s AND version = %s"
        row = self.database.execute(query, (subject, version)).fetchone()
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"records/{subject}/").get("Contents", [])
        in_redis = bool(self.redis.hget(f"schema:{subject}/{version}", "record"))
        in_s3 = any(each["Key"] == f"records/{subject}/{version}" for each in listed)
        return in_redis, in_s3, row[0] if row else ""


@pytest.fixture(scope="session")
def url() -> str:
    """Return where the registry is."""
    return os.environ["PATIENT_URL"]


@pytest.fixture(scope="session")
def api(url: str) -> Iterator[Api]:
    """Return a client of an admin."""
    with httpx.Client(base_url=url, headers=_login("admin"), timeout=30, trust_env=False) as client:
        yield Api(client)


@pytest.fixture(scope="session")
def reader(url: str) -> Iterator[Api]:
    """Return a client that may only read."""
    with httpx.Client(base_url=url, headers=_login("reader"), timeout=30, trust_env=False) as client:
        yield Api(client)


@pytest.fixture(scope="session")
def anonymous(url: str) -> Iterator[Api]:
    """Return a client without a token."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield Api(client)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    """Return a subject of this test's own: all tests share one registry."""
    return f"s{next(COUNTER)}-{request.node.originalname[5:60].replace('_', '-')}"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Return clients of the servers behind the registry."""
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["OBJECTS_URL"],
        aws_access_key_id=os.environ["OBJECTS_ACCESS_KEY"],
        aws_secret_access_key=os.environ["OBJECTS_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    cache = redis.Redis.from_url(os.environ["CACHE_URL"])
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database, cache:
        yield Servers(database=database, redis=cache, s3=s3, bucket=os.environ["OBJECTS_BUCKET"])


def _login(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {role}-of-the-tests"}
