"""Latencies in buckets of about the same relative width, as HdrHistogram has them: 0.1 % off. Pure.

http://hdrhistogram.org; the format is that of its HistogramEncoding V2, and of logs with one line per
histogram, which its tools read. Microseconds, from 1 to an hour, with three digits.
"""

import base64
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Self

_COOKIE, _COMPRESSED_COOKIE = 0x1C849303 | 0x10, 0x1C849304 | 0x10
_LARGEST_US = 3_600_000_000
_DIGITS = 3
_HALF_BITS = 10
"""Half of the 2,048 buckets of one order are needed to tell values with three digits."""
_HALF = 1 << _HALF_BITS
_MASK = 2 * _HALF - 1


class LatencyHistogram:
    """Counts latencies in seconds."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count, self._sum_s, self.max_s = 0, 0.0, 0.0

    def add(self, latency_s: float) -> None:
        """Count one; more than an hour is counted as an hour."""
        self._counts[_index(min(max(round(1e6 * latency_s), 1), _LARGEST_US))] += 1
        self.count += 1
        self._sum_s += latency_s
        self.max_s = max(self.max_s, latency_s)

    def merge(self, other: "LatencyHistogram") -> None:
        """Count also what another one has."""
        self._counts += other._counts
        self.count += other.count
        self._sum_s += other._sum_s
        self.max_s = max(self.max_s, other.max_s)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, which `from_json` reads without a loss."""
        return {"counts": sorted(self._counts.items()), "sum_s": self._sum_s, "max_s": self.max_s}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build one from its JSON."""
        made = cls()
        made._counts.update({int(index): int(count) for index, count in value["counts"]})
        made.count = made._counts.total()
        made._sum_s, made.max_s = float(value["sum_s"]), float(value["max_s"])
        return made

    @property
    def mean_s(self) -> float:
        """The mean; nan without any."""
        return self._sum_s / self.count if self.count else math.nan

    def at_rank(self, rank: int) -> float:
        """Return the `rank`-th smallest latency, from 1 on; nan beyond what there is."""
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= rank:
                return min(_value(index) / 1e6, self.max_s)
        return math.nan

    def steps(self) -> Iterator[tuple[float, int]]:
        """Yield each latency there is, as the upper end of its bucket in seconds, with how many have it."""
        for index in sorted(self._counts):
            yield _value(index) / 1e6, self._counts[index]

    def encoded(self) -> str:
        """Return it in HdrHistogram's compressed format V2, in base64."""
        counts = b"".join(_zigzag(each) for each in _runs(self._counts))
        head = struct.pack(">iiiiqqd", _COOKIE, len(counts), 0, _DIGITS, 1, _LARGEST_US, 1.0)
        packed = zlib.compress(head + counts)
        return base64.b64encode(struct.pack(">ii", _COMPRESSED_COOKIE, len(packed)) + packed).decode()


def log_of(histograms: Mapping[str, tuple[float, float, LatencyHistogram]]) -> str:
    """Return a histogram log: by tag, when it starts, how long it lasts (seconds), and what was measured."""
    lines = [
        "#[Latencies in microseconds]",
        "#[LatencyHistogram log format version 1.3]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for tag, (start_s, length_s, each) in histograms.items():
        # Commas and spaces end a tag.
        name = "".join("_" if character in ", \n" else character for character in tag)
        lines.append(f"Tag={name},{start_s:.3f},{length_s:.3f},{1e6 * each.max_s:.0f},{each.encoded()}")
    return "\n".join(lines) + "\n"


def _index(value: int) -> int:
    order = (value | _MASK).bit_length() - _HALF_BITS - 1
    return ((order + 1) << _HALF_BITS) + (value >> order) - _HALF


def _value(index: int) -> int:
    """Return the largest value of a bucket."""
    order, within = (index >> _HALF_BITS) - 1, (index & (_HALF - 1)) + _HALF
    if order < 0:
        order, within = 0, within - _HALF
    return (within << order) + (1 << order) - 1


def _runs(counts: Mapping[int, int]) -> Iterator[int]:
    """Yield the counts in order, and a number of buckets without any as its negative."""
    place = 0
    for index in sorted(counts):
        if index > place:
            yield place - index
        yield counts[index]
        place = index + 1


def _zigzag(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; the ninth byte has eight."""
    left = (number << 1) ^ (number >> 63)
    groups = bytearray()
    while left > 0x7F and len(groups) < 8:
        groups.append(left & 0x7F | 0x80)
        left >>= 7
    groups.append(left)
    return bytes(groups)
