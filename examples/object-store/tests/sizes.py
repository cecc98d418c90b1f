"""How large things are in each profile."""

from dataclasses import dataclass

MB = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """In bytes, except the numbers of clients. `is_full`: speeds are demanded, and not only measured."""

    small: int = 10 * MB
    large: int
    largest: int
    chunk: int
    large_chunk: int
    stream: int
    each: int
    uploads: int = 50
    downloads: int = 100
    is_full: bool = False


QUICK = Sizes(
    large=40 * MB, largest=10 * MB, chunk=10 * MB, large_chunk=32 * MB, stream=64 * MB, each=MB // 4
)

FULL = Sizes(
    large=5 * GB,
    largest=10 * GB,
    chunk=GB,
    large_chunk=1_670 * MB,
    stream=2 * GB,
    each=4 * MB,
    is_full=True,
)

BY_NAME = {"quick": QUICK, "full": FULL}
