"""What `shards` makes of a stage of `stages.toml`: a stage of its own for each part of the tests. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kvsync.pods import Location

SHARD = "shard"
"""The value of the matrix that says which one a stage is, from 1."""

MOST_SHARDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Which part of the tests a stage has: part `number`, from 1, of those that `stages` have together.

    `whole` is what all of them together are called.
    """

    number: int
    stages: tuple[str, ...]
    whole: str

    @property
    def others(self) -> tuple[str, ...]:
        """The stages that have the other tests."""
        return tuple(name for at, name in enumerate(self.stages, start=1) if at != self.number)

    def __str__(self) -> str:
        """Return it as people, and the options of the pytest plugin, have it."""
        return f"{self.number}/{len(self.stages)}"


def shard_values(shards: int | None) -> dict[str, tuple[str, ...]]:
    """Return what the matrix of a stage has besides its own values."""
    return {SHARD: tuple(str(number) for number in range(1, shards + 1))} if shards else {}


def wrong_shards(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield what cannot be said together with `shards`; of what is malformed, nothing is said here."""
    given = document.get("stages")
    for name, table in given.items() if isinstance(given, dict) else ():
        if not isinstance(table, dict) or not isinstance(table.get("shards"), int):
            continue
        matrix, coverage = table.get("matrix"), table.get("coverage")
        if isinstance(matrix, dict) and SHARD in matrix:
            yield (
                ("stages", name, "matrix", SHARD),
                f"`shards` gives {{{SHARD}}} its values; call this one otherwise",
            )
        asked = [each for each in ("minimum", "paths", "changed") if coverage and each in coverage]
        for each in asked if isinstance(coverage, dict) else ():
            where = ("stages", name, "coverage", each)
            yield where, "a shard runs a part of the tests; ask for it in [coverage], of all stages together"
