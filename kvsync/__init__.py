"""Follow the KV-cache events of LLM engines, and route each request to the pod that holds its prefix.

What decides is here: values and pure functions. What does input and output is imported from its own module,
so that importing kvsync stays cheap: `kvsync.publisher`, `kvsync.subscriber`, `kvsync.discovery`,
`kvsync.manager`, `kvsync.gateway`, `kvsync.simulator`, and the test kit in `kvsync.testing`.
"""

from kvsync.codec import Encoding, Limits, decode, encode
from kvsync.errors import ConfigError, DecodeError, KVSyncError, NoPodReady, PortInUse
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, EventBatch, Skipped, Source
from kvsync.hashing import block_hashes
from kvsync.index import Digest, PrefixIndex
from kvsync.routing import Candidate, Choice, Policy, Selection, choose, rank
from kvsync.sequence import Deliver, Forget, Replay, SequenceTracker, State

__version__ = "0.1.0"

__all__ = [
    "AllBlocksCleared",
    "BlockRemoved",
    "BlockStored",
    "Candidate",
    "Choice",
    "ConfigError",
    "DecodeError",
    "Deliver",
    "Digest",
    "Encoding",
    "Event",
    "EventBatch",
    "Forget",
    "KVSyncError",
    "Limits",
    "NoPodReady",
    "Policy",
    "PortInUse",
    "PrefixIndex",
    "Replay",
    "Selection",
    "SequenceTracker",
    "Skipped",
    "Source",
    "State",
    "block_hashes",
    "choose",
    "decode",
    "encode",
    "rank",
]
