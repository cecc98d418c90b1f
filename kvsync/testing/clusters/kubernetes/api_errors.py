"""What the client of Kubernetes raises, as one error that says what was tried, in the API server's words."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from kubernetes.utils import FailToCreateError

from kvsync.testing.errors import InfrastructureError

NOT_FOUND = 404

_FORBIDDEN = re.compile(r'forbidden: User ".*" cannot ')
"""What a server says of a right that is lacking; rules and quotas are refused with other words."""


class Forbidden(InfrastructureError):
    """The user has no right to do it, so it was not done."""


@contextmanager
def failures(what: str, *, unless: int = 0) -> Iterator[None]:
    """Turn whatever the client raises into an InfrastructureError, unless it is this HTTP status.

    It is a Forbidden where a right is lacking.
    """
    try:
        yield
    except ApiException as exc:
        if exc.status != unless:
            raise (Forbidden if is_forbidden(exc) else InfrastructureError)(
                f"cannot {what}: {message(exc)}"
            ) from exc
    except FailToCreateError as exc:
        raise InfrastructureError(f"cannot {what}: {'; '.join(map(message, exc.api_exceptions))}") from exc
    except (urllib3.exceptions.HTTPError, ConfigException, OSError) as exc:
        raise InfrastructureError(f"cannot {what}: {message(exc)}") from exc


def is_forbidden(error: ApiException) -> bool:
    """Say whether it was the API server that refused, because the user lacks a right."""
    return bool(_FORBIDDEN.search(message(error)))


def message(error: Exception) -> str:
    """Return the API server's own sentence where there is one."""
    if isinstance(error, ApiException):
        try:
            return f"{error.status}: {json.loads(error.body or '')['message']}"
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {error}"
