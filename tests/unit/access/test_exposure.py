"""What is said of a gateway that others than this machine reach."""

import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.doors.exposure import exposure

KEYS = {"keys": {"alice": "alice-0123456789"}}
TLS = {"tls": {"certificate": "tls.crt", "key": "tls.key"}}
ADMIN = {"admin": {"port": 9090}}

OPEN = "the gateway listens on 10.0.0.5, and who reaches it may "
ALL = f"{OPEN}use the engines, read /status and /index/dump, read keys and prompts on their way"
PROXY = ", or let only a proxy that has both keys and TLS reach it"


@pytest.mark.parametrize(
    ("host", "access", "said"),
    [
        ("127.0.0.1", {}, ""),
        ("127.1.2.3", {}, ""),
        ("::1", {}, ""),
        ("localhost", {}, ""),
        ("10.0.0.5", KEYS | TLS, ""),
        (
            "10.0.0.5",
            {},
            f"{ALL}: set access.keys_file and access.tls{PROXY}",
        ),
        (
            "10.0.0.5",
            ADMIN | TLS,
            f"{OPEN}use the engines: set access.keys_file{PROXY}",
        ),
        ("10.0.0.5", KEYS, f"{OPEN}read keys and prompts on their way: set access.tls{PROXY}"),
    ],
    ids=["loopback", "other loopback", "IPv6", "by name", "closed", "open", "own port", "no TLS"],
)
def test_an_open_door_is_named(host: str, access: dict[str, object], said: str) -> None:
    """The log says what others may do, and which setting keeps them out."""
    pods = [{"name": "a", "model": "m", "host": "h"}]

    config = GatewayConfig.model_validate({"host": host, "pods": pods, "access": access})

    assert exposure(config) == said
