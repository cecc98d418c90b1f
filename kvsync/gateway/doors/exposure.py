"""What an operator should know before others find out: a gateway that all of the network may use."""

import ipaddress

from kvsync.config import GatewayConfig


def exposure(config: GatewayConfig) -> str:
    """Say what those can do who reach the gateway, and how to keep them out; empty: nothing is open."""
    access = config.access
    lacking = [
        *([] if access.wants_keys else ["access.keys_file"]),
        *([] if access.tls else ["access.tls"]),
    ]
    if is_loopback(config.host) or not lacking:
        return ""
    risks = [
        *([] if access.wants_keys else ["use the engines"]),
        *([] if access.wants_keys or access.admin else ["read /status and /index/dump"]),
        *([] if access.tls else ["read keys and prompts on their way"]),
    ]
    return (
        f"the gateway listens on {config.host}, and who reaches it may {', '.join(risks)}: set"
        f" {' and '.join(lacking)}, or let only a proxy that has both keys and TLS reach it"
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach what listens on this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
