"""Which files of a repository a profile is about. Pure.

Tools name files from where they ran, from the root of the machine, or with the name of a module in front. The
file meant is the one whose path ends alike, if there is just one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kvsync.ci.readers.coverage.coverage import Coverage


@dataclass(frozen=True, slots=True)
class Placed:
    """A profile by the paths of a repository; `foreign` are files that are not in it."""

    coverage: Coverage
    foreign: tuple[str, ...] = ()


def placed(coverage: Coverage, files: Collection[str]) -> Placed:
    """Name the files of a profile as the repository does; those that are none of its files are left out."""
    known, by_name = frozenset(files), _by_name(files)
    names = {path: _name(path, known, by_name) for path in coverage.files}
    found = Coverage({path: each for path, each in coverage.files.items() if names[path]})
    foreign = tuple(path for path, name in names.items() if not name)
    return Placed(found.renamed(lambda path: names[path]), foreign)


def _name(path: str, known: frozenset[str], by_name: Mapping[str, list[str]]) -> str:
    """Return the path in the repository, "" if there is none or more than one."""
    clean = path.removeprefix("./")
    if clean in known:
        return clean
    alike = by_name.get(clean.rpartition("/")[2], [])
    ends = [each for each in alike if f"/{clean}".endswith(f"/{each}") or f"/{each}".endswith(f"/{clean}")]
    longest = max((len(each) for each in ends), default=0)
    best = [each for each in ends if len(each) == longest]
    inside = [each for each in ends if f"/{clean}".endswith(f"/{each}")]
    if inside:
        return max(inside, key=len)
    return best[0] if len(ends) == 1 else ""


def _by_name(files: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for each in files:
        found[each.rpartition("/")[2]].append(each)
    return found
