"""The store in a bucket of S3, or of a server that speaks its protocol.

- Credentials are found by boto3's own rules and are never in a message; a link that holds a signature is a
  secret until it expires.
- Whatever fails is a StoreError that says what to do; it comes within about 30 s when nothing answers.
- What was put is compared with what is kept, by length and by the server's own MD5 of it (its ETag); where
  the ETag is something else, the file is read back. A server that alters data is named, and what it altered
  is removed.
- A multipart upload is aborted when it fails. One that could not even be aborted is found by `tidy`, and by
  the bucket's lifecycle rule.
"""

import hashlib
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from kvsync.ci.errors import StoreError
from kvsync.ci.settings import StoreSettings
from kvsync.ci.store.s3_failure import code_of, failure, is_absent, is_unknown_request
from kvsync.ci.store.store import (
    STALE_UPLOAD_DAYS,
    Stored,
    beside,
    checked,
    content_type,
    digest,
    static_link,
)
from kvsync.errors import UnknownName

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef, LifecycleRuleTypeDef

PATIENCE = Config(
    connect_timeout=5,
    read_timeout=8,
    retries={"mode": "standard", "total_max_attempts": 3},
    signature_version="s3v4",
    # The signature covers the SHA-256 of every body, which all servers check.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"payload_signing_enabled": True},
)
"""Three attempts of 8 s and the pauses between them: 30 s at most for a server that says nothing."""

PARALLEL_DELETIONS = 8
PIECE = 1024**2
"""Bytes of a file that is hashed, held at a time."""
PRUNE = "run `kvsync-ci prune` regularly in its place, such as every night"


class S3Store:
    """A store below a prefix of a bucket; safe to share between threads."""

    def __init__(self, client: "S3Client", settings: StoreSettings) -> None:
        bucket, _, prefix = settings.url.removeprefix("s3://").partition("/")
        self._client, self._settings, self._bucket = client, settings, bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        for operation in ("PutObject", "UploadPart"):
            client.meta.events.register(
                f"before-parameter-build.s3.{operation}", _with_checksum, unique_id=f"kvsync-ci {operation}"
            )
        # Without threads a transfer holds one part in memory; several are under way at a time.
        self._transfer = TransferConfig(
            multipart_threshold=settings.part_size,
            multipart_chunksize=settings.part_size,
            use_threads=False,
            preferred_transfer_client="classic",
        )

    @classmethod
    def open(cls, settings: StoreSettings, config: Config = PATIENCE) -> Self:
        """Return the store at `settings.url`; nothing is asked of a server yet."""
        try:
            client = Session().client(
                "s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config
            )
        except boto.BotoCoreError as exc:
            raise failure(f"open {settings.url}", exc, datetime.now(UTC)) from exc
        return cls(client, settings)

    def put(self, key: str, source: Path) -> Stored:
        """See Store; the server checks a SHA-256 of every part, and what it keeps is compared."""
        with self._working("store", key) as full, tempfile.NamedTemporaryFile() as copy:
            # What is hashed, split and sent is one and the same, even of a log that is still written to.
            shutil.copyfile(source, copy.name)
            stored, etags = digest(Path(copy.name)), possible_etags(Path(copy.name), self._settings.part_size)
            self._client.upload_fileobj(
                copy, self._bucket, full, ExtraArgs=self._described(key, stored), Config=self._transfer
            )
            # boto3 has closed the copy, and with it removed it.
            self._compare(key, stored, etags)
        return stored

    def get(self, key: str) -> bytes:
        """See Store."""
        with self._working("read", key) as full:
            try:
                return self._client.get_object(Bucket=self._bucket, Key=full)["Body"].read()
            except self._client.exceptions.NoSuchKey as exc:
                raise UnknownName("stored file", key, self.list(beside(key))) from exc

    def stat(self, key: str) -> Stored | None:
        """See Store; a file that something else put there has no hash, so it differs from every other."""
        with self._working("look at", key) as full:
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=full)
            except boto.ClientError as exc:
                if code_of(exc) == "404":
                    return None
                raise
        return Stored(head["ContentLength"], _sha256_in(head["Metadata"]))

    def list(self, prefix: str = "") -> list[str]:
        """See Store."""
        with self._saying(f"list {self._address(prefix)}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            found = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return sorted(key.removeprefix(self._prefix) for key in found)

    def delete(self, keys: Iterable[str]) -> None:
        """See Store."""
        with ThreadPoolExecutor(PARALLEL_DELETIONS) as pool:
            for _ in pool.map(self._delete, keys):
                pass

    def tidy(self, prefix: str, before: datetime | None = None) -> None:
        """See Store; aborts multipart uploads, whose parts cost money and are in no list of files.

        A server that cannot list them is left to clean up after itself; some answer so where there is none.
        """
        with self._saying(f"look for interrupted uploads in {self._address(prefix)}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            try:
                found = [each for page in pages for each in page.get("Uploads", [])]
            except boto.ClientError as exc:
                if not is_unknown_request(exc) and code_of(exc) != "NoSuchUpload":
                    raise
                found = []
            for upload in found:
                if before is None or upload["Initiated"] < before:
                    self._abort(upload["Key"], upload["UploadId"])

    def url(self, key: str) -> str:
        """See Store."""
        with self._working("link", key) as full:
            if self._settings.links == "static":
                return static_link(self._settings.link_base, full)
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": full},
                ExpiresIn=self._settings.link_expiry_s,
            )

    def put_lifecycle(self) -> str:
        """Have the bucket itself remove what is not pruned, and say the rule; other rules stay.

        The bucket knows no verdicts, so the rule is about the longest time that a run is kept. A server that
        answers well and then does not have the rule keeps none.
        """
        settings = self._settings
        prefix = f"{self._prefix}{settings.project}/"
        rule: LifecycleRuleTypeDef = {
            "ID": f"kvsync-ci {prefix}"[:255],
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "Expiration": {"Days": max(settings.keep_days, settings.keep_failed_days)},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STALE_UPLOAD_DAYS},
        }
        with self._saying(f"set the lifecycle of s3://{self._bucket}"):
            others = [each for each in self._lifecycle() if each.get("ID") != rule["ID"]]
            self._put_rules([*cast("Sequence[LifecycleRuleTypeDef]", others), rule])
            if rule["ID"] not in [each.get("ID") for each in self._lifecycle()]:
                raise self._no_rules()
        days = rule["Expiration"]["Days"]
        return f"the bucket removes files after {days} days, parts of uploads after {STALE_UPLOAD_DAYS}"

    def _lifecycle(self) -> "Sequence[LifecycleRuleOutputTypeDef]":
        try:
            return self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket).get("Rules", [])
        except boto.ClientError as exc:
            if code_of(exc) == "NoSuchLifecycleConfiguration":
                return []
            raise self._no_rules() if is_unknown_request(exc) else exc from exc

    def _put_rules(self, rules: "Sequence[LifecycleRuleTypeDef]") -> None:
        try:
            self._client.put_bucket_lifecycle_configuration(
                Bucket=self._bucket, LifecycleConfiguration={"Rules": rules}
            )
        except boto.ClientError as exc:
            raise self._no_rules() if is_unknown_request(exc) else exc from exc

    def _no_rules(self) -> StoreError:
        what = f"set the lifecycle of s3://{self._bucket}"
        return StoreError(what, "the server keeps no lifecycle rules", PRUNE)

    def _delete(self, key: str) -> None:
        with self._working("delete", key) as full:
            self._client.delete_object(Bucket=self._bucket, Key=full)

    def _abort(self, full: str, upload: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=full, UploadId=upload)
        except self._client.exceptions.NoSuchUpload:
            return  # it ended meanwhile

    def _described(self, key: str, stored: Stored) -> dict[str, object]:
        settings = self._settings
        encryption = {"ServerSideEncryption": settings.encryption, "SSEKMSKeyId": settings.kms_key}
        return {
            "ContentType": content_type(key),
            "Metadata": {"sha256": stored.sha256},
            **({"ChecksumAlgorithm": "SHA256"} if settings.checksum == "sha256" else {}),
            **{name: value for name, value in encryption.items() if value},
        }

    def _compare(self, key: str, sent: Stored, etags: Collection[str]) -> None:
        """Raise StoreError, and remove the file, unless the server keeps what it was sent."""
        full, what = self._prefix + key, f"store {self._address(key)}"
        head = self._client.head_object(Bucket=self._bucket, Key=full)
        if _sha256_in(head["Metadata"]) not in ("", sent.sha256):
            raise StoreError(what, "another upload of the run replaced it", "try again later", passing=True)
        size = head["ContentLength"]
        if size == sent.size and (head["ETag"].strip('"') in etags or self._sha256_of(full) == sent.sha256):
            return
        # It would be taken for the file, whose hash is in its metadata.
        self._client.delete_object(Bucket=self._bucket, Key=full)
        server = head["ResponseMetadata"]["HTTPHeaders"].get("server", "without a name")
        raise StoreError(
            what,
            f"the server ({server}) alters data: it was sent {sent.size} bytes and keeps "
            + (f"{size}" if size != sent.size else "as many others"),
            "use another one",
        )

    def _sha256_of(self, full: str) -> str:
        """Read a file back for its hash; in pieces, as it may be large."""
        hashed = hashlib.sha256()
        for piece in self._client.get_object(Bucket=self._bucket, Key=full)["Body"].iter_chunks(PIECE):
            hashed.update(piece)
        return hashed.hexdigest()

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @contextmanager
    def _working(self, verb: str, key: str) -> Iterator[str]:
        full = self._prefix + checked(key)
        with self._saying(f"{verb} {self._address(key)}"):
            yield full

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        try:
            yield
        except boto.ClientError as exc:
            raise failure(what, self._explained(exc), datetime.now(UTC)) from exc
        except boto.BotoCoreError as exc:
            raise failure(what, exc, datetime.now(UTC)) from exc
        except OSError as exc:
            raise StoreError(what, exc.strerror or str(exc), "free the disk or correct its rights") from exc

    def _explained(self, error: boto.ClientError) -> boto.ClientError:
        """Return why the server failed, if it can say: some answer InternalError where there is no bucket."""
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            return error
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except boto.ClientError as exc:
            return exc if is_absent(exc) else error
        except boto.BotoCoreError:
            return error
        return error


def possible_etags(path: Path, part_size: int) -> Collection[str]:
    """Return what S3 answers as ETag: the MD5 of a file, or that of its parts' MD5s with their number."""
    whole, of_parts, count = _md5(), _md5(), 0
    with path.open("rb") as file:
        while part := file.read(part_size):
            whole.update(part)
            of_parts.update(_md5(part).digest())
            count += 1
    return whole.hexdigest(), f"{of_parts.hexdigest()}-{count}"


def _with_checksum(params: dict[str, Any], **_: object) -> None:
    """Put the checksum of a body that asks for one into a header.

    Left to boto3 it follows the body over TLS, in a framing that some servers refuse and others store.
    """
    if params.get("ChecksumAlgorithm") != "SHA256":
        return
    body = params["Body"]
    began, hashed = body.tell(), hashlib.sha256()
    while piece := body.read(PIECE):
        hashed.update(piece)
    body.seek(began)
    params["ChecksumSHA256"] = b64encode(hashed.digest()).decode()


def _md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def _sha256_in(metadata: Mapping[str, str]) -> str:
    """Return the hash that we gave a file, "" without one; servers write the name as they like (`Sha256`)."""
    return next((text for name, text in metadata.items() if name.lower() == "sha256"), "")
