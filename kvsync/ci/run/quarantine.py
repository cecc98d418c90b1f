"""Tests that run and are reported but, for a time, do not gate: `quarantine.toml` at the top of a repository.

```
[[quarantine]]
test = "tests/e2e/test_scaling.py::test_scale_down"    # with all its parameters, unless one is named
owner = "@name"
reason = "a pod that ends slowly is still listed"
issue = "https://github.com/owner/name/issues/12"
added = 2026-11-20
expires = 2026-12-01                                   # at most 14 days later
```

- An entry holds from `added` to the end of `expires`; after that the test gates again, and its failure says
  why.
- What gates is the file of the branch that a pull request asks to be merged into. What the pull request adds
  counts only after it is merged; a failure that it is about says so.
- Only failures are set aside: a test that decided nothing still leaves its stage undecided.
- In a stage the quarantine holds for one check, or for up to 10 % of them, and never for all. Above that the
  stage is not tested any more, so that everything in it gates.
"""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kvsync.ci.entries import DatedEntry, EntryText, load_entries
from kvsync.ci.run.kept import keep_file
from kvsync.ci.toml_table import TomlTable
from kvsync.testing.results.outcome import Check, Checks, Outcome, StageResult, merge

NAME = "quarantine.toml"
"""Where a run keeps the quarantine that it is judged by, in its folder."""

PROPOSED = "quarantine.proposed.toml"
"""Where a run keeps the quarantine of a commit that is not judged by its own."""

LONGEST = timedelta(days=14)
"""A quarantine without an end is a deleted test: elsewhere 32 of 38 "for now" were never looked at again."""

LARGEST_SHARE = 0.1


class QuarantineEntry(DatedEntry):
    """One test in quarantine, who mends it, and until when."""

    longest = LONGEST

    test: Annotated[str, Field(pattern=r"^[^:]+::.+$", description="The test's node id")]
    issue: EntryText

    def covers(self, name: str) -> bool:
        """Say whether the entry names the check of this name, or the function of which it is one case."""
        return name == self.test or name.startswith(f"{self.test}[")

    def __str__(self) -> str:
        return (
            f"quarantine of {self.added} until {self.expires} by {self.owner}: {self.reason} ({self.issue})"
        )


class Quarantine(TomlTable):
    """The entries of a repository, under the name that they have in the file."""

    quarantine: tuple[QuarantineEntry, ...] = ()

    def entry(self, check: Check) -> QuarantineEntry | None:
        """Return the entry that covers a check, the one that lasts longest if there are several."""
        covering = [entry for entry in self.quarantine if entry.covers(check.name)]
        return max(covering, key=lambda entry: entry.expires, default=None)


def keep_quarantine(repository: Path, file: Path, run_dir: Path, name: str = NAME) -> None:
    """Copy the quarantine of a repository into the folder of a run, before anything in it runs."""
    keep_file(repository, file, run_dir, name)


def load_quarantine(file: Path) -> Quarantine:
    """Read a quarantine; without the file it is empty.

    Raises ConfigError with every problem: the path of the field and what is wrong.
    """
    return load_entries(Quarantine, file, "tests in quarantine")


def apply(
    quarantine: Quarantine, result: StageResult, today: date, proposed: Quarantine | None = None
) -> StageResult:
    """Set aside the failures of a stage that are in quarantine; the outcome then follows from the rest.

    `proposed` is what a commit adds that is not judged by its own; it sets nothing aside.

    What is in doubt for another reason than its checks stays so. A failure whose quarantine is over, or is
    part of too large a quarantine, stays a failure and says so.
    """
    if not quarantine.quarantine and not (proposed and proposed.quarantine):
        return result
    entries = [quarantine.entry(check) for check in result.checks]
    covered = sum(entry is not None and entry.holds(today) for entry in entries)
    is_too_large = covered > most_covered(len(result.checks))
    checks = Checks(
        _judged(check, entry, today, is_too_large=is_too_large) if entry else _asked(check, proposed)
        for check, entry in zip(result.checks, entries, strict=True)
    )
    if checks == result.checks:
        return result
    after = merge(
        result.name, checks, started_at=result.started_at, duration_s=result.duration_s, log=result.log
    )
    return after.doubted(result.doubt) if result.doubt else after


def most_covered(checks: int) -> int:
    """Return how many checks of a stage a quarantine may cover: a tenth, at least one, and not all."""
    return min(max(1, int(checks * LARGEST_SHARE)), checks - 1)


def _judged(check: Check, entry: QuarantineEntry, today: date, *, is_too_large: bool) -> Check:
    if check.outcome is not Outcome.FAILED or today < entry.added:
        return check
    if entry.is_over(today):
        return _noted(check, f"{entry} is over: the test gates again")
    if is_too_large:
        return _noted(check, f"{entry} does not hold: too many tests of the stage are in quarantine")
    return replace(_noted(check, str(entry)), kind="quarantined")


def _asked(check: Check, proposed: Quarantine | None) -> Check:
    entry = proposed.entry(check) if proposed and check.outcome is Outcome.FAILED else None
    return (
        _noted(check, f"{entry} is added by this commit: it counts only after it is merged")
        if entry
        else check
    )


def _noted(check: Check, note: str) -> Check:
    return replace(check, detail="\n".join(filter(None, [check.detail, note])))
