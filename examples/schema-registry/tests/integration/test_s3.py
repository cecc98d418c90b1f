"""S3: what the level keeps, and what backups may rely on, on the server of the stage."""

import asyncio
import hashlib
import io
from dataclasses import replace
from typing import Any

import anyio.to_thread
import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from registry.core import Record
from registry.errors import LevelFailed
from registry.storage.objects import RECORDS, ObjectLevel

pytestmark = pytest.mark.anyio

RECORD = Record(id="i", subject="orders", version="1.0.0", schema={"type": "object"}, digest="d")
MIB = 1024 * 1024


@pytest.fixture
def level(s3: Any, bucket: str) -> ObjectLevel:
    return ObjectLevel(s3, bucket)


def names(s3: Any, bucket: str, prefix: str = "") -> list[str]:
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", [])]


def test_buckets_are_made_and_deleted(s3: Any) -> None:
    """And one that is not there is an error."""
    s3.create_bucket(Bucket="another-bucket")
    assert "another-bucket" in {each["Name"] for each in s3.list_buckets()["Buckets"]}
    s3.delete_bucket(Bucket="another-bucket")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="another-bucket")


def test_an_object_is_put_and_got(s3: Any, bucket: str) -> None:
    """With its type and its length."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"content", ContentType="application/json")
    found = s3.get_object(Bucket=bucket, Key="a")
    assert found["Body"].read() == b"content"
    assert (found["ContentType"], found["ContentLength"]) == ("application/json", 7)


def test_a_later_object_replaces_an_earlier_one(s3: Any, bucket: str) -> None:
    """The last one that was put is there."""
    for content in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="a", Body=content)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"second"


def test_a_part_of_an_object_is_got(s3: Any, bucket: str) -> None:
    """By its range."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    assert s3.get_object(Bucket=bucket, Key="a", Range="bytes=3-5")["Body"].read() == b"345"


async def test_a_record_is_kept_and_found(level: ObjectLevel) -> None:
    """As it was."""
    assert await level.get(RECORD.key) is None
    await level.put(RECORD)
    assert await level.get(RECORD.key) == RECORD


def test_objects_are_listed(s3: Any, bucket: str) -> None:
    """In the order of their names."""
    for name in ("b", "a", "c/d"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    assert names(s3, bucket) == ["a", "b", "c/d"]


async def test_a_deleted_record_is_gone(level: ObjectLevel, s3: Any, bucket: str) -> None:
    """And may be deleted again."""
    await level.put(RECORD)
    for _ in range(2):
        await level.remove(RECORD.key, 1)
    assert await level.get(RECORD.key) is None
    assert names(s3, bucket) == []


async def test_the_revision_is_in_the_metadata(level: ObjectLevel, s3: Any, bucket: str) -> None:
    """It can be read without the record."""
    await level.put(replace(RECORD, revision=3))
    head = s3.head_object(Bucket=bucket, Key=f"{RECORDS}orders/1.0.0")
    assert head["Metadata"] == {"revision": "3"}
    assert head["ContentType"] == "application/json"


def test_a_large_object_is_sent_in_parts(s3: Any, bucket: str) -> None:
    """And is whole afterwards."""
    content = bytes(range(256)) * (12 * MIB // 256)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(content), bucket, "large", Config=parts)
    head = s3.head_object(Bucket=bucket, Key="large")
    assert head["ContentLength"] == len(content)
    assert head["ETag"].strip('"').endswith("-3")
    received = s3.get_object(Bucket=bucket, Key="large")["Body"].read()
    assert hashlib.sha256(received).digest() == hashlib.sha256(content).digest()


def test_an_upload_that_is_given_up_leaves_nothing(s3: Any, bucket: str) -> None:
    """Neither an object nor parts."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="large", UploadId=upload, PartNumber=1, Body=b"x" * 5 * MIB)
    s3.abort_multipart_upload(Bucket=bucket, Key="large", UploadId=upload)
    assert names(s3, bucket) == []
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_an_object_is_copied(s3: Any, bucket: str) -> None:
    """On the server."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"content", Metadata={"revision": "1"})
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    copied = s3.get_object(Bucket=bucket, Key="b")
    assert (copied["Body"].read(), copied["Metadata"]) == (b"content", {"revision": "1"})


def test_earlier_versions_of_an_object_are_kept_where_that_is_wanted(s3: Any) -> None:
    """A bucket of backups can be made so."""
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        s3.put_object(Bucket="versioned", Key="a", Body=body)["VersionId"] for body in (b"1", b"2")
    )
    assert first != second
    assert s3.get_object(Bucket="versioned", Key="a", VersionId=first)["Body"].read() == b"1"
    assert s3.get_object(Bucket="versioned", Key="a")["Body"].read() == b"2"
    for version in (first, second):
        s3.delete_object(Bucket="versioned", Key="a", VersionId=version)
    s3.delete_bucket(Bucket="versioned")


async def test_objects_are_organized_by_prefix(level: ObjectLevel, s3: Any, bucket: str) -> None:
    """Records by subject, and apart from backups."""
    for subject in ("orders", "users"):
        await level.put(replace(RECORD, subject=subject))
    await level.write("backups/one.jsonl", b"{}")
    assert await level.names(f"{RECORDS}orders/") == ["records/orders/1.0.0"]
    found = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert {"backups/", "records/"} <= {each["Prefix"] for each in found["CommonPrefixes"]}


def test_lists_come_in_pages(s3: Any, bucket: str) -> None:
    """Each with what to ask for next."""
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [[each["Key"] for each in page["Contents"]] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]


def test_an_object_has_a_storage_class(s3: Any, bucket: str) -> None:
    """The standard one, unless another is asked for."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"", StorageClass="STANDARD")
    (listed,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert listed.get("StorageClass", "STANDARD") == "STANDARD"


def test_the_etag_says_what_is_in_an_object(s3: Any, bucket: str) -> None:
    """Its MD5; what a client has is not sent again."""
    tag = s3.put_object(Bucket=bucket, Key="a", Body=b"content")["ETag"]
    assert tag.strip('"') == hashlib.md5(b"content").hexdigest()  # noqa: S324  # as S3 has it
    assert s3.head_object(Bucket=bucket, Key="a")["ETag"] == tag
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="a", IfNoneMatch=tag)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 304


async def test_clearing_deletes_all_records_at_once_and_no_backup(
    level: ObjectLevel, s3: Any, bucket: str
) -> None:
    """With one request for up to a thousand."""
    for number in range(25):
        await level.put(replace(RECORD, version=f"1.{number}.0"))
    await level.write("backups/one.jsonl", b"{}")
    await level.clear()
    assert names(s3, bucket) == ["backups/one.jsonl"]


async def test_ten_uploads_at_once(s3: Any, bucket: str) -> None:
    """Everything is there afterwards."""

    def upload(number: int) -> None:
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"x" * 100_000)

    await asyncio.gather(*(anyio.to_thread.run_sync(upload, number) for number in range(10)))
    assert names(s3, bucket) == [str(number) for number in range(10)]


async def test_a_damaged_object_is_a_failed_level(level: ObjectLevel) -> None:
    """It is not taken for a record."""
    await level.write(f"{RECORDS}{RECORD.key}", b"{")
    with pytest.raises(LevelFailed, match=r"orders/1\.0\.0 is damaged"):
        await level.get(RECORD.key)


async def test_a_server_that_is_not_there_is_a_failed_level(free_port: int) -> None:
    """For every method."""
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{free_port}",
        aws_access_key_id="a",
        aws_secret_access_key="s",  # noqa: S106  # no secret
        region_name="us-east-1",
        config=Config(connect_timeout=1, retries={"total_max_attempts": 1}, proxies={}),
    )
    level = ObjectLevel(client, "bucket")
    for action in (level.get(RECORD.key), level.put(RECORD), level.remove(RECORD.key, 1), level.clear()):
        with pytest.raises(LevelFailed, match="s3"):
            await action


async def test_a_bucket_that_is_not_there_is_a_failed_level(s3: Any) -> None:
    """That is no miss: nothing could be kept there."""
    with pytest.raises(LevelFailed, match="NoSuchBucket"):
        await ObjectLevel(s3, "no-such-bucket").get(RECORD.key)
