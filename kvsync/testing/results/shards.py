"""How the tests of a stage are shared among its shards. Pure; every shard computes all of it by itself.

A shard has whole files, so that what the tests of a file share is made once. The file that takes longest goes
first, to the shard that has least to do (Graham's LPT rule, at most a third above the best there is). Ties go
by name and number, so that the same tests and times are shared in the same way everywhere.
"""

import heapq
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping


def file_of(nodeid: str) -> str:
    """Return the file that a test is in."""
    return nodeid.partition("::")[0]


def file_times(tests: Iterable[str], durations_s: Mapping[str, float]) -> dict[str, float]:
    """Return how long each file will take, in seconds; a test without a record takes as long as the median.

    Where nothing is recorded each test counts one.
    """
    tests = dict.fromkeys(tests)
    known = [durations_s[test] for test in tests if test in durations_s]
    usual = statistics.median(known) if known else 1.0
    times: dict[str, float] = defaultdict(float)
    for test in sorted(tests):
        times[file_of(test)] += durations_s.get(test, usual)
    return dict(times)


def shared(times: Mapping[str, float], shards: int) -> list[frozenset[str]]:
    """Return the files of each shard; each file is in exactly one."""
    loads = [(0.0, 0, number) for number in range(shards)]
    found: list[set[str]] = [set() for _ in range(shards)]
    for file in sorted(times, key=lambda file: (-times[file], file)):
        load, count, number = loads[0]
        found[number].add(file)
        heapq.heapreplace(loads, (load + times[file], count + 1, number))
    return [frozenset(each) for each in found]


def in_no_shard(every: Iterable[str], shards: Iterable[Collection[str]]) -> list[str]:
    """Return what should be in one of the shards, and is in none."""
    found = {each for shard in shards for each in shard}
    return [each for each in every if each not in found]
