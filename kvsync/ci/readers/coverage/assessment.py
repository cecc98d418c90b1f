"""What coverage amounts to: placed in its repository, with its changed lines, and judged by a gate. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kvsync.ci.project.coverage import CoverageGate
from kvsync.ci.readers.coverage.changes import Changes, of_changes
from kvsync.ci.readers.coverage.coverage import Coverage
from kvsync.ci.readers.coverage.gate import judged
from kvsync.ci.readers.coverage.paths import placed
from kvsync.testing.results.outcome import Check

FOREIGN = "coverage: files"
"""The check that says that a profile is of other files."""

NAMED = 5
"""Foreign files that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A profile by the paths of its repository, and how it was judged.

    `changed`: the part of it that is about changed lines, None if the commit to compare with is not known.
    `remarks`: files that were measured and are not in the repository.
    """

    gate: CoverageGate
    coverage: Coverage
    changed: Coverage | None = None
    checks: Sequence[Check] = ()
    remarks: Sequence[str] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether it is of something else than the repository."""
        return any(check.name == FOREIGN for check in self.checks)


def assessed(
    coverage: Coverage,
    gate: CoverageGate,
    *,
    files: Collection[str] | None = None,
    changes: Changes | None = None,
) -> Assessment:
    """Judge a profile; `files` are those of the repository, None if they are not known.

    A profile of none of them is of something else, which decides nothing.
    """
    found = placed(coverage, files) if files is not None else None
    if found and not found.coverage.files and found.foreign:
        said = f"no measured file is in the repository: {', '.join(found.foreign[:NAMED])}"
        check = Check(name=FOREIGN, kind="inconclusive", detail=said)
        return Assessment(gate=gate, coverage=coverage, checks=[check])
    here = found.coverage if found else coverage
    foreign = found.foreign if found else ()
    remarks = [f"{len(foreign)} measured files are not in the repository: {', '.join(foreign[:NAMED])}"]
    return Assessment(
        gate=gate,
        coverage=here,
        changed=None if changes is None else of_changes(here, changes),
        checks=judged(gate, here, changes),
        remarks=remarks if foreign else [],
    )
