"""What can go wrong, by what a client can do about it: each error has the status of the answer it becomes."""

from collections.abc import Sequence


class RegistryError(Exception):
    """Everything that the registry refuses; `problems` are its reasons, one each."""

    status = 500

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class BadRequest(RegistryError):
    """What was sent cannot be read."""

    status = 400


class NotAllowed(RegistryError):
    """Who asks is not known (401), or may not do this (403)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFound(RegistryError):
    """There is no such thing."""

    status = 404


class Conflict(RegistryError):
    """It contradicts what is registered."""

    status = 409


class Gone(RegistryError):
    """It was deleted."""

    status = 410


class TooLarge(RegistryError):
    """More was sent than is read."""

    status = 413


class InvalidSchema(RegistryError):
    """It is JSON, and not a schema."""

    status = 422


class Unavailable(RegistryError):
    """The database cannot be used now; the same request may be served later."""

    status = 503


class LevelFailed(Exception):
    """One level of the storage did not do what it was asked for."""


class CircuitOpen(LevelFailed):
    """It was not asked, since it failed too often just now."""
