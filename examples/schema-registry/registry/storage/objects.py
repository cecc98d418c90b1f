"""The third level: S3, which has every record for good, and backups.

Records are written here only while their row of the database is locked (registry.storage.settling), so that
an old one cannot replace a newer one.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
from botocore.exceptions import BotoCoreError, ClientError

from registry.core import Key, Record
from registry.errors import LevelFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RECORDS = "records/"
AT_ONCE = 1000
"""How many objects one request may delete."""

_Answer = TypeVar("_Answer")


class ObjectLevel:
    """Keeps records as objects of one bucket; the client, which blocks, is asked in threads."""

    name = "s3"

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def get(self, key: Key) -> Record | None:
        """See Level."""
        written = await self.read(f"{RECORDS}{key}")
        try:
            return Record.decode(written) if written is not None else None
        except ValueError as exc:
            raise LevelFailed(f"s3: {key} is damaged: {exc}") from exc

    async def put(self, record: Record) -> None:
        """See Level."""
        await self.write(f"{RECORDS}{record.key}", record.encode(), revision=str(record.revision))

    async def remove(self, key: Key, revision: int) -> None:
        """See Level; the lock on its row keeps older ones away."""
        await self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=f"{RECORDS}{key}"))

    async def clear(self) -> None:
        """See Level; backups stay."""
        await self._ask(self._delete_all)

    async def read(self, name: str) -> bytes | None:
        """Return what an object holds, None where there is none."""

        def ask() -> bytes | None:
            try:
                content: bytes = self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
            except self._client.exceptions.NoSuchKey:
                return None
            return content

        return await self._ask(ask)

    async def write(self, name: str, content: bytes, **metadata: str) -> None:
        """Put an object."""
        await self._ask(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=content,
                ContentType="application/json",
                Metadata=metadata,
            )
        )

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the objects that begin so."""
        return await self._ask(lambda: list(self._listed(prefix)))

    def _listed(self, prefix: str) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        ):
            yield from (each["Key"] for each in page.get("Contents", []))

    def _delete_all(self) -> None:
        names = list(self._listed(RECORDS))
        for start in range(0, len(names), AT_ONCE):
            chosen: Any = [{"Key": name} for name in names[start : start + AT_ONCE]]
            self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": chosen, "Quiet": True})

    async def _ask(self, command: Callable[[], _Answer]) -> _Answer:
        try:
            return await anyio.to_thread.run_sync(command, abandon_on_cancel=True)
        except (BotoCoreError, ClientError, OSError) as exc:
            raise LevelFailed(f"s3: {exc}") from exc
