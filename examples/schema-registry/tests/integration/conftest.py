"""The real servers of the stage, empty before each test."""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from psycopg.rows import dict_row
from redis.asyncio import Redis

from registry.assembly import Registry, assembled
from registry.observability import Tally
from registry.settings import Settings, read_settings
from registry.storage import tables
from registry.storage.postgres import Postgres, connected

TABLES = "subjects, schemas, compatibility_checks, validations, unsettled"


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Return where the servers are, by the variables that the stage has; a busy machine is waited for."""
    found = read_settings(os.environ)
    return replace(found, redis_timeout_s=20.0, s3_timeout_s=20.0, database_timeout_s=40.0)


@pytest.fixture(scope="session")
async def shared_database(settings: Settings, anyio_backend: str) -> AsyncIterator[Postgres]:
    """Connect once, and make the tables."""
    async with connected(settings.database_url, timeout_s=40.0) as database:
        await database.run(tables.make_tables)
        yield database


@pytest.fixture
async def database(shared_database: Postgres) -> Postgres:
    """Empty the tables."""

    async def work(connection: Any) -> None:
        await connection.execute(f"TRUNCATE {TABLES}")

    await shared_database.run(work)
    return shared_database


@pytest.fixture
async def connection(database: Postgres, settings: Settings) -> AsyncIterator[Any]:
    """Connect once more, to look past the pool."""
    async with await psycopg.AsyncConnection.connect(
        settings.database_url, row_factory=dict_row, autocommit=True
    ) as found:
        yield found


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """Connect to an empty Redis."""
    async with Redis.from_url(settings.redis_url) as client:
        await client.flushdb()
        yield client


@pytest.fixture(scope="session")
def shared_s3(settings: Settings) -> Any:
    """Return a client of its own, as an operator would have."""
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_url,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


@pytest.fixture
def bucket(settings: Settings) -> str:
    """Return the stage's bucket."""
    return settings.s3_bucket


@pytest.fixture
def s3(shared_s3: Any, bucket: str) -> Iterator[Any]:
    """Empty the bucket."""
    for page in shared_s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for each in page.get("Contents", []):
            shared_s3.delete_object(Bucket=bucket, Key=each["Key"])
    return shared_s3


@pytest.fixture
async def registry(database: Postgres, redis: Redis, s3: Any, settings: Settings) -> AsyncIterator[Registry]:
    """Give a whole registry on empty servers."""
    async with assembled(settings, Tally()) as found:
        yield found


@pytest.fixture
def free_port() -> int:
    """Return a port at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def settings_url(settings: Settings, redis: Redis) -> str:
    """Return the address of the empty Redis."""
    return settings.redis_url
