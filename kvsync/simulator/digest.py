"""Block hashes as vLLM computes them with `--prefix-caching-hash-algo sha256_cbor`.

A block's digest is SHA-256 over the canonical CBOR of (parent digest, token ids, extra keys); the chain
starts from the digest of the seed's text, as vLLM does with PYTHONHASHSEED. So a recorded vLLM stream and
the simulator agree byte for byte.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

_BYTES, _TEXT, _ARRAY = 0x40, 0x60, 0x80
_NULL = b"\xf6"
_LOW_64_BITS = (1 << 64) - 1


# Sized for one model's vocabulary: token ids repeat, and a hit is several times cheaper than packing again.
@lru_cache(maxsize=1 << 17)
def _head(n: int, major: int = 0) -> bytes:
    """The shortest CBOR head for the number `n`, as canonical CBOR demands; alone, an unsigned integer."""
    if n < 24:
        return bytes([major | n])
    size = 1 if n < 1 << 8 else 2 if n < 1 << 16 else 4
    return bytes([major | (23 + size.bit_length())]) + n.to_bytes(size, "big")


def _text(value: str) -> bytes:
    raw = value.encode()
    return _head(len(raw), _TEXT) + raw


def root_digest(seed: int) -> bytes:
    """What stands for the parent of every first block."""
    return sha256(_text(str(seed))).digest()


def block_digest(parent: bytes, token_ids: Sequence[int], extra_keys: Sequence[str] | None) -> bytes:
    """The 32 bytes that name a full block; `token_ids` are unsigned 32-bit integers."""
    parts = [_head(3, _ARRAY), _head(len(parent), _BYTES), parent, _head(len(token_ids), _ARRAY)]
    parts += map(_head, token_ids)
    parts += [_NULL] if extra_keys is None else [_head(len(extra_keys), _ARRAY), *map(_text, extra_keys)]
    return sha256(b"".join(parts)).digest()


def as_int(digest: bytes) -> int:
    """A digest as vLLM publishes it by default: its last eight bytes, big-endian."""
    return int.from_bytes(digest, "big") & _LOW_64_BITS
