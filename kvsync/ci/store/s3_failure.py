"""What an error of S3, or of a server that speaks its protocol, means and how it is mended.

Servers name the same trouble differently; what tells them apart is the code, the status and the clock of
their answer. No credential is ever in a message.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from botocore import exceptions as boto

from kvsync.ci.errors import StoreError

LARGEST_SKEW = timedelta(minutes=15)
"""What S3 allows between the clocks of client and server."""

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
    "NotImplemented": ("the server cannot do this", "use another one"),
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


def failure(what: str, error: Exception, now: datetime | None = None) -> StoreError:
    """Say what an error of boto3 means; of one about credentials its own words are left out.

    `now` is the time here, by which a wrong clock is told from missing rights.
    """
    match error:
        case boto.ClientError():
            return _refusal(what, error, now)
        case _ if isinstance(error, _LOGIN):
            return StoreError(what, f"no credentials ({type(error).__name__})", _CREDENTIALS)
        case boto.ConnectionError() | boto.HTTPClientError():
            mend = "check store.endpoint_url and the network"
            return StoreError(what, f"no answer: {_line(error)}", mend, passing=True)
        case _:
            return StoreError(what, _line(error), "correct the store's settings")


def is_absent(error: boto.ClientError) -> bool:
    """Whether a bucket that was asked for is not there."""
    return code_of(error) in ("404", "NoSuchBucket")


def is_unknown_request(error: boto.ClientError) -> bool:
    """Whether the server does not know such a request, or takes it for another (rules for a new bucket)."""
    return code_of(error) in _UNKNOWN


_UNKNOWN = (
    "NotImplemented",
    "MethodNotAllowed",
    "501",
    "405",
    "BucketAlreadyExists",
    "BucketAlreadyOwnedByYou",
)


def _refusal(what: str, error: boto.ClientError, now: datetime | None) -> StoreError:
    code = "NoSuchBucket" if error.operation_name == "HeadBucket" else code_of(error)
    if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403 and abs(_skew(error, now)) > LARGEST_SKEW:
        code = "RequestTimeTooSkewed"  # some servers say AccessDenied
    if code in _MENDS:
        problem, mend = _MENDS[code]
        return StoreError(what, f"{problem} ({code})", mend, passing=mend == _LATER)
    passing = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    message = " ".join(error.response["Error"].get("Message", "").split())[:300]
    mend = _LATER if passing else "correct the store's settings"
    return StoreError(what, f"the server refused: {code}: {message}", mend, passing=passing)


def _skew(error: boto.ClientError, now: datetime | None) -> timedelta:
    """Return by how much the clock here is ahead of the server's; nothing if the answer has no time."""
    if now is None:
        return timedelta()
    try:
        return now - parsedate_to_datetime(error.response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError, TypeError):
        return timedelta()


def code_of(error: boto.ClientError) -> str:
    """Return the code in the server's answer, or its status if there is none."""
    return error.response["Error"].get("Code", "")


def _line(error: Exception) -> str:
    """Return an error's words on one line, without the query of an address."""
    return re.sub(r"\?[^\s\"]*", "", " ".join(str(error).split()))[:300]
