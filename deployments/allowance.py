"""How many requests each address may still make."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

MAX_ADDRESSES = 10_000
"""Addresses remembered; the one that has been quiet the longest is forgotten first."""


class Allowance:
    """A bucket of `per_minute` tokens for each address, filled evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Take a token; returns 0, or in how many seconds there will be one."""
        key, now = network(address), self._clock()
        tokens, since = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - since) * self._per_minute / 60)
        admitted = tokens >= 1
        self._buckets[key] = (tokens - admitted, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if admitted else (1 - tokens) * 60 / self._per_minute


def network(address: str) -> str:
    """Return the network that is counted as one: an IPv6 host has a whole /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((int(parsed), 64), strict=False))
