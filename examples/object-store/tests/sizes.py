"""How large things are in each profile, and which speeds are demanded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

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

CORES = 4
"""Of the machine of which speeds are demanded: gateway, servers, database and client share them."""

BY_NAME = {"quick": QUICK, "full": FULL}


def demand(rates: Mapping[str, float], at_least: float, sizes: Sizes) -> None:
    """Fail where bytes per second are too few, if speeds are demanded; skip where a machine is too small."""
    said = {way: f"{rate / MB:.1f} MB/s" for way, rate in rates.items()}
    if sizes.is_full and (cores := len(os.sched_getaffinity(0))) < CORES:
        pytest.skip(f"measured {said}, but not judged: that takes {CORES} cores, and here are {cores}")
    assert not sizes.is_full or min(rates.values()) > at_least, said
