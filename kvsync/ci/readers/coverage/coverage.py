"""Which lines and branches of which files ran: one model for the profiles of all languages. Pure.

A branch is known by its line and by a key that its tool gives it (where it leads, or a number). Of tools that
only count, the keys are numbers from 1 on, the taken ones first: merged, that is never more than was taken.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Self

LineHits = Mapping[int, bool]
"""Whether each line that can run did."""

BranchHits = Mapping[int, Mapping[str, bool]]
"""Whether each branch was taken, by line and key."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How much there is, and how much of it ran; nothing of nothing is None percent."""

    lines: int = 0
    lines_hit: int = 0
    branches: int = 0
    branches_hit: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.lines + other.lines,
            self.lines_hit + other.lines_hit,
            self.branches + other.branches,
            self.branches_hit + other.branches_hit,
        )

    @property
    def percent(self) -> float | None:
        """Of lines and branches together, as coverage.py counts."""
        return _percent(self.lines_hit + self.branches_hit, self.lines + self.branches)

    @property
    def rank(self) -> float:
        """Where it stands in a list that begins with the least covered: nothing of nothing comes last."""
        return 101 if self.percent is None else self.percent

    @property
    def percent_lines(self) -> float | None:
        """Of lines alone."""
        return _percent(self.lines_hit, self.lines)

    @property
    def percent_branches(self) -> float | None:
        """Of branches alone."""
        return _percent(self.branches_hit, self.branches)


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """One file."""

    lines: LineHits = field(default_factory=dict)
    branches: BranchHits = field(default_factory=dict)

    @property
    def tally(self) -> Tally:
        """How much of it ran."""
        taken = [hit for keys in self.branches.values() for hit in keys.values()]
        return Tally(len(self.lines), sum(self.lines.values()), len(taken), sum(taken))

    @property
    def missed(self) -> list[int]:
        """The lines that can run and did not."""
        return sorted(line for line, hit in self.lines.items() if not hit)

    @property
    def partial(self) -> list[int]:
        """The lines that ran and of which a branch was not taken."""
        return sorted(
            line for line, keys in self.branches.items() if self.lines.get(line) and not all(keys.values())
        )

    def __or__(self, other: "FileCoverage") -> "FileCoverage":
        return FileCoverage(_either(self.lines, other.lines), _either_branch(self.branches, other.branches))


@dataclass(frozen=True, slots=True)
class Coverage:
    """The files of a profile, by their path with forward slashes."""

    files: Mapping[str, FileCoverage] = field(default_factory=dict)

    @property
    def tally(self) -> Tally:
        """How much ran in all."""
        return self.of(lambda _: True)

    def of(self, is_meant: Callable[[str], bool]) -> Tally:
        """Return how much ran of the files that are meant, by their path."""
        return sum((each.tally for path, each in self.files.items() if is_meant(path)), Tally())

    def renamed(self, name: Callable[[str], str]) -> "Coverage":
        """Return the same with other paths; files that get the same one are merged."""
        files: dict[str, FileCoverage] = {}
        for path, each in self.files.items():
            files[name(path)] = files.get(name(path), FileCoverage()) | each
        return Coverage(files)

    def __or__(self, other: "Coverage") -> "Coverage":
        paths = [*self.files, *(path for path in other.files if path not in self.files)]
        nothing = FileCoverage()
        return Coverage(
            {path: self.files.get(path, nothing) | other.files.get(path, nothing) for path in paths}
        )

    def to_json(self) -> dict[str, object]:
        """Return the profile as plain JSON values."""
        return {
            path: {
                "lines": {str(line): hit for line, hit in each.lines.items()},
                "branches": {str(line): dict(keys) for line, keys in each.branches.items()},
            }
            for path, each in self.files.items()
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Self:
        """Build a profile from what `to_json` returned; KeyError, TypeError or ValueError otherwise."""
        return cls(
            {
                path: FileCoverage(
                    {int(line): bool(hit) for line, hit in each["lines"].items()},
                    {int(line): dict(keys) for line, keys in each["branches"].items()},
                )
                for path, each in value.items()
            }
        )


def merged(profiles: Iterable[Coverage]) -> Coverage:
    """Return what ran in any of the profiles."""
    return reduce(Coverage.__or__, profiles, Coverage())


def line_ranges(lines: Iterable[int]) -> str:
    """Return rising numbers with those that follow one another as one: 3-5, 9."""
    parts: list[list[int]] = []
    for line in lines:
        if parts and parts[-1][1] == line - 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _percent(hit: int, total: int) -> float | None:
    return 100 * hit / total if total else None


def _either(one: LineHits, other: LineHits) -> LineHits:
    return {**one, **{line: hit or one.get(line, False) for line, hit in other.items()}}


def _either_branch(one: BranchHits, other: BranchHits) -> BranchHits:
    found = dict(one)
    for line, keys in other.items():
        known = one.get(line)
        found[line] = _taken(known, keys) if known else keys
    return found


def _taken(one: Mapping[str, bool], other: Mapping[str, bool]) -> Mapping[str, bool]:
    """Merge the branches of a line; of tools that name them differently, the better count."""
    if one.keys() == other.keys():
        return {key: hit or other[key] for key, hit in one.items()}
    return max(one, other, key=lambda keys: (len(keys), sum(keys.values())))
