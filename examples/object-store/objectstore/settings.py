"""What the gateway is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MB = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`servers` are the storage servers that it begins with: their addresses (host:port) by their ids."""

    database: str = field(repr=False)
    servers: Mapping[str, str] = field(default_factory=dict)
    copies: int = 2
    """On how many servers each chunk is."""
    chunk_bytes: int = 4 * 1024 * 1024
    """Two are in memory for each transfer."""
    max_bytes: int = 10 * GB
    """The largest file."""
    connections: int = 20
    """To the database, at most."""
    pool_wait_s: float = 10.0
    """How long a request waits for a connection."""
    storage_timeout_s: float = 5.0
    """For one call to a storage server, after which another is asked: half of what clients wait."""
    heartbeat_s: float = 1.0
    """How often servers are asked, and the ring is refreshed."""
    expiry_s: float = 3.0
    """After how long a server that does not answer gets no more chunks."""
    stall_s: float = 30.0
    """How long a client may send nothing in the middle of an upload."""
    stale_s: float = 120.0
    """After how long an upload is given up whose gateway is gone; longer than `stall_s`."""
    grace_s: float = 60.0
    """How long the chunks of a removed file stay for those who are reading it."""
    cleaning_s: float = 10.0
    """How often what is left over is removed, and copies that are missing are made."""
