"""Addresses in settings, which have no room for a password: that would reach logs and reports. Pure."""

import re
from typing import Annotated

from pydantic import AfterValidator

_SERVER = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?"

_PLAIN_URL = re.compile(r"https?://[^/@?#\s]+(/[^?#\s]*)?")


def _without_credentials(url: str) -> str:
    """Refuse passwords, which would reach logs and reports; the message does not repeat them either."""
    if url and not _PLAIN_URL.fullmatch(url):
        raise ValueError("http:// or https:// without a user, a password or a query is needed")
    return url


def _git_server(url: str) -> str:
    return url if url.startswith("file:///") else _without_credentials(url).removesuffix("/")


FETCHABLE = (
    rf"^((https?|git)://{_SERVER}(/[^?#\s]*)?|ssh://([A-Za-z0-9._-]+@)?{_SERVER}/[^?#\s]*|file:///[^\n]+"
    r"|([A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:/?[^/:@?#\s][^:@?#\s]*|[^:\n]+)$"
)
"""Addresses that have no room for a secret: a user only where ssh needs one. JSON Schema reads it as well."""


def _fetchable(url: str) -> str:
    if not re.fullmatch(FETCHABLE, url):
        raise ValueError(
            "give what git fetches from, without a password: https://, ssh://, git@HOST:PATH, a folder"
        )
    return url


PlainUrl = Annotated[str, AfterValidator(_without_credentials)]
GitServer = Annotated[str, AfterValidator(_git_server)]
Fetched = Annotated[str, AfterValidator(_fetchable)]
