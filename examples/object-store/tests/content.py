"""Content for files: made as it is sent, the same for the same seed, and of any size."""

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PIECE_BYTES = 1024 * 1024

SPARSE_EVERY = 16
"""One piece in so many is noise in sparse content; the others are zeros."""


@dataclass(frozen=True, slots=True)
class Content:
    """`size` bytes of noise; `is_sparse`: of zeros with some noise, which storage servers keep as holes."""

    seed: int
    size: int
    is_sparse: bool = False

    def __iter__(self) -> Iterator[bytes]:
        noise = random.Random(self.seed).randbytes(PIECE_BYTES)
        zeros = bytes(PIECE_BYTES)
        for number, start in enumerate(range(0, self.size, PIECE_BYTES)):
            # No two pieces are alike: what is lost, doubled or out of order shows.
            mark = f"{self.seed}:{number};".encode()
            rest = zeros if self.is_sparse and number % SPARSE_EVERY else mark + noise[len(mark) :]
            yield rest[: self.size - start]

    def read(self) -> bytes:
        """Return all of it."""
        return b"".join(self)

    def sha256(self) -> str:
        """Return its checksum."""
        return sha256(self)[1]


def sha256(pieces: Iterable[bytes]) -> tuple[int, str]:
    """Return how many bytes there are, and their checksum."""
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest()


def readable(size: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
