"""What the client of Kubernetes raises, as one error that says what was tried, in the API server's words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from kubernetes.utils import FailToCreateError

from kvsync.errors import ClusterError

NOT_FOUND = 404


@contextmanager
def failures(what: str, *, unless: int = 0) -> Iterator[None]:
    """Turn whatever the client raises into a ClusterError, unless it is this HTTP status."""
    try:
        yield
    except ApiException as exc:
        if exc.status != unless:
            raise ClusterError(f"cannot {what}: {message(exc)}") from exc
    except FailToCreateError as exc:
        raise ClusterError(f"cannot {what}: {'; '.join(map(message, exc.api_exceptions))}") from exc
    except (urllib3.exceptions.HTTPError, ConfigException, OSError) as exc:
        raise ClusterError(f"cannot {what}: {message(exc)}") from exc


def message(error: Exception) -> str:
    """Return the API server's own sentence where there is one."""
    if isinstance(error, ApiException):
        try:
            return f"{error.status}: {json.loads(error.body or '')['message']}"
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {error}"
