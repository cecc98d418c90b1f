"""What goes wrong, by what a client can do about it; `status` is the status of the HTTP answer."""


class ObjectStoreError(Exception):
    """The base of all errors of the store."""

    status = 500


class Invalid(ObjectStoreError):
    """A request that is wrong in itself."""

    status = 400


class UnsupportedType(Invalid):
    """A content type that is none."""

    status = 415


class TooLarge(Invalid):
    """A file above the largest size."""

    status = 413


class ChecksumMismatch(Invalid):
    """Bytes that are not those that the client announced."""

    status = 422


class Stalled(Invalid):
    """A client that sent nothing for too long."""

    status = 408


class NotFound(ObjectStoreError):
    """There is nothing of that name."""

    status = 404


class Conflict(ObjectStoreError):
    """What is asked for does not fit the state of the store."""

    status = 409


class Unavailable(ObjectStoreError):
    """Storage or metadata cannot be reached now; a later attempt may succeed."""

    status = 503
