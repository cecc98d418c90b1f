"""What `go test -bench` prints, also with -benchmem and -count, as measurements. Pure.

Several lines of one benchmark (`-count`) are its samples, and their median is the value. The number of
processors behind each name is left out where all have the same: it would make every machine another series.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kvsync.ci.readers.bounds import Damaged, plain_name
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check

METRICS = {"ns/op": "time", "B/op": "allocated", "allocs/op": "allocations", "MB/s": "throughput"}

_RESULT = re.compile(r"(Benchmark\S*)\s+(\d{1,18})\s+(\S.*)")
_PAIR = re.compile(r"(\S{1,40})\s+(\S{1,40})")
_PROCESSORS = re.compile(r"-\d{1,5}$")
_END = re.compile(r"(ok|FAIL)\s+\S+\s+\S+|PASS$|FAIL$|\?\s+\S+\s+\[no test files\]")


@dataclass(frozen=True, slots=True)
class BenchLine:
    """One result: the benchmark with its package, and a value for each unit."""

    name: str
    values: dict[str, float]


def read_go_bench(text: str) -> ResultFile:
    """Return what the output of `go test -bench` measured; raises Damaged if it has no result."""
    lines = text.splitlines()
    found = list(bench_lines(lines))
    failed = [line for line in lines if line.startswith(("--- FAIL: ", "FAIL\t", "panic: "))]
    if not found and not failed:
        raise Damaged("it holds no result of `go test -bench`")
    measurements = measured(found)
    checks = [
        Check(name=f"{name} (measured)", kind="passed")
        for name in dict.fromkeys(each.name for each in measurements)
    ]
    if failed:
        checks.append(Check(name="go test -bench", kind="failed", detail="\n".join(failed)))
    is_whole = any(map(_END.match, lines))
    return ResultFile(
        checks=checks,
        measurements=measurements,
        doubts=[] if is_whole else ["it ends without the line of a package (ok, PASS or FAIL)"],
    )


def bench_lines(lines: Iterable[str], package: str = "") -> Iterator[BenchLine]:
    """Yield the results among lines; `package` holds until a line `pkg:` names another."""
    for line in lines:
        if line.startswith("pkg: "):
            package = line.removeprefix("pkg: ").strip()
        elif found := _RESULT.match(line):
            values = {
                pair[2]: value for pair in _PAIR.finditer(found[3]) if (value := _number(pair[1])) is not None
            }
            if values:
                yield BenchLine(f"{package}::{found[1]}" if package else found[1], values)


def measured(lines: Iterable[BenchLine]) -> list[Measurement]:
    """Return the measurements of results, a median for each benchmark and unit."""
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    every = list(lines)
    told = _without_processors([each.name for each in every])
    for name, line in zip(told, every, strict=True):
        for unit, value in line.values.items():
            samples[name, unit].append(value)
    return [
        Measurement(
            name=plain_name(name),
            metric=METRICS.get(unit, unit),
            value=statistics.median(values),
            unit=unit,
            samples=len(values),
            better=_better(unit),
        )
        for (name, unit), values in samples.items()
    ]


def _without_processors(names: Sequence[str]) -> list[str]:
    ends = {found[0] if (found := _PROCESSORS.search(name)) else "" for name in names}
    return [name.removesuffix(*ends) for name in names] if len(ends) == 1 else list(names)


def _better(unit: str) -> Literal["lower", "higher"]:
    return "higher" if unit.endswith("/s") else "lower"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None  # which nan and infinity are not
