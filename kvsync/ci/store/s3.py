"""The store in a bucket of S3, or of a server that speaks its protocol.

- Credentials are found by boto3's own rules and are never in a message; a link that holds a signature is a
  secret until it expires.
- Whatever fails is a StoreError that says what to do; it comes within about 30 s when nothing answers.
- A multipart upload is aborted when it fails. One that could not even be aborted is found by `tidy`, and by
  the bucket's lifecycle rule.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from kvsync.ci.errors import StoreError
from kvsync.ci.settings import StoreSettings
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
)
"""Three attempts of 8 s and the pauses between them: 30 s at most for a server that says nothing."""

PARALLEL_DELETIONS = 8


class S3Store:
    """A store below a prefix of a bucket; safe to share between threads."""

    def __init__(self, client: "S3Client", settings: StoreSettings) -> None:
        bucket, _, prefix = settings.url.removeprefix("s3://").partition("/")
        self._client, self._settings, self._bucket = client, settings, bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
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
        with _saying(f"open {settings.url}"):
            client = Session().client(
                "s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config
            )
        return cls(client, settings)

    def put(self, key: str, source: Path) -> Stored:
        """See Store; the server checks a SHA-256 of every part that it gets."""
        with self._working("store", key) as full, tempfile.NamedTemporaryFile() as copy:
            # What is hashed, split and sent is one and the same, even of a log that is still written to.
            shutil.copyfile(source, copy.name)
            stored = digest(Path(copy.name))
            self._client.upload_fileobj(
                copy, self._bucket, full, ExtraArgs=self._described(key, stored), Config=self._transfer
            )
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
                if _code(exc) == "404":
                    return None
                raise
        return Stored(head["ContentLength"], head["Metadata"].get("sha256", ""))

    def list(self, prefix: str = "") -> list[str]:
        """See Store."""
        with _saying(f"list {self._address(prefix)}"):
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
        """See Store; aborts multipart uploads, whose parts cost money and are in no list of files."""
        with _saying(f"look for interrupted uploads in {self._address(prefix)}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for upload in (each for page in pages for each in page.get("Uploads", [])):
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

        The bucket knows no verdicts, so the rule is about the longest time that a run is kept.
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
        with _saying(f"set the lifecycle of s3://{self._bucket}"):
            others = [each for each in self._lifecycle() if each.get("ID") != rule["ID"]]
            self._client.put_bucket_lifecycle_configuration(
                Bucket=self._bucket,
                LifecycleConfiguration={"Rules": [*cast("Sequence[LifecycleRuleTypeDef]", others), rule]},
            )
        days = rule["Expiration"]["Days"]
        return f"the bucket removes files after {days} days, parts of uploads after {STALE_UPLOAD_DAYS}"

    def _lifecycle(self) -> "Sequence[LifecycleRuleOutputTypeDef]":
        try:
            return self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket)["Rules"]
        except boto.ClientError as exc:
            if _code(exc) == "NoSuchLifecycleConfiguration":
                return []
            raise

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
            "ChecksumAlgorithm": "SHA256",
            "Metadata": {"sha256": stored.sha256},
            **{name: value for name, value in encryption.items() if value},
        }

    def _address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    @contextmanager
    def _working(self, verb: str, key: str) -> Iterator[str]:
        full = self._prefix + checked(key)
        with _saying(f"{verb} {self._address(key)}"):
            yield full


_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for this store"
_RIGHTS = (
    "allow s3:PutObject, GetObject, DeleteObject, AbortMultipartUpload on its files and ListBucket, "
    "ListBucketMultipartUploads on the bucket (and the key of its encryption)"
)
_NEW_TOKEN = "renew the session, such as with `aws sso login`"  # noqa: S105 - advice
_LATER = "try again later"

_MENDS: Mapping[str, tuple[str, str]] = {
    "NoSuchBucket": ("the bucket does not exist", "make it or correct store.url"),
    "AccessDenied": ("access is denied", _RIGHTS),
    "403": ("access is denied", _RIGHTS),
    "InvalidAccessKeyId": ("the credentials are not known there", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key is wrong", _CREDENTIALS),
    "ExpiredToken": ("the session has expired", _NEW_TOKEN),
    "ExpiredTokenException": ("the session has expired", _NEW_TOKEN),
    "InvalidToken": ("the session is not valid", _NEW_TOKEN),
    "RequestTimeTooSkewed": ("the clock of this machine differs from the server's", "set it, such as by NTP"),
    "PermanentRedirect": ("the bucket is in another region", "correct store.region"),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "correct store.region"),
    "NoSuchUpload": ("another upload of the run interrupted this one", _LATER),
}
"""By the code in the server's answer: what it means, and what to do."""

_LOGIN = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.SSOError,
    boto.LoginError,
)


@contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError) as exc:
        raise failure(what, exc) from exc
    except OSError as exc:
        raise StoreError(what, exc.strerror or str(exc), "free the disk or correct its rights") from exc


def failure(what: str, error: Exception) -> StoreError:
    """Say what an error of boto3 means; of one about credentials its own words are left out."""
    match error:
        case boto.ClientError():
            return _refusal(what, error)
        case _ if isinstance(error, _LOGIN):
            return StoreError(what, f"no credentials ({type(error).__name__})", _CREDENTIALS)
        case boto.ConnectionError() | boto.HTTPClientError():
            mend = "check store.endpoint_url and the network"
            return StoreError(what, f"no answer: {_line(error)}", mend, passing=True)
        case _:
            return StoreError(what, _line(error), "correct the store's settings")


def _refusal(what: str, error: boto.ClientError) -> StoreError:
    code = _code(error)
    if code in _MENDS:
        problem, mend = _MENDS[code]
        return StoreError(what, f"{problem} ({code})", mend, passing=mend == _LATER)
    passing = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    message = " ".join(error.response["Error"].get("Message", "").split())[:300]
    mend = _LATER if passing else "correct the store's settings"
    return StoreError(what, f"the server refused: {code}: {message}", mend, passing=passing)


def _code(error: boto.ClientError) -> str:
    return error.response["Error"].get("Code", "")


def _line(error: Exception) -> str:
    """Return an error's words on one line, without the query of an address."""
    return re.sub(r"\?[^\s\"]*", "", " ".join(str(error).split()))[:300]
