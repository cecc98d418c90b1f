"""A service as it is reached through the fault proxy: at another address, and otherwise the same."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit, urlunsplit

from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.service import HOST
from kvsync.testing.clusters.local.fault_proxy import FaultProxy

ENCRYPTED = ("https", "rediss")
"""A client that reaches such a server under another name refuses its certificate."""


def proxied(service: RunningService, proxy: FaultProxy) -> RunningService:
    """Return the service at a port of the proxy's; one that is reached by TLS stays where it is."""
    if is_encrypted(service.fields["url"]):
        return service
    direct = service.fields["host"], int(service.fields["port"])
    listener = proxy.listen(HOST, 0, direct)
    url = at(service.fields["url"], HOST, listener.port)
    fields = {**service.fields, "url": url, "host": HOST, "port": str(listener.port)}
    return replace(service, fields=fields, listener=listener)


def is_encrypted(url: str) -> bool:
    """Say whether a server is reached by TLS alone."""
    parts = urlsplit(url)
    modes = parse_qs(parts.query).get("sslmode", [])
    return parts.scheme in ENCRYPTED or any(mode in ("require", "verify-ca", "verify-full") for mode in modes)


def at(url: str, host: str, port: int) -> str:
    """Return a URL at another host and port, with the same login."""
    parts = urlsplit(url)
    login, has_login, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{has_login}{host}:{port}"))
