"""Findings that a repository accepts for a time: `accepted.toml` at its top.

```
[[accepted]]
finding = "PYSEC-2021-108"               # or any other name of it
package = "urllib3"                      # or a file; without it, wherever it is found
owner = "@name"
reason = "only internal addresses are opened with it"
issue = "https://github.com/owner/name/issues/12"
added = 2026-11-20
expires = 2027-02-01                     # at most 90 days later
```

An entry holds from `added` to the end of `expires`; after that the finding counts again, and says why. What
it accepts is shown as quarantined: it neither fails nor proves anything. An entry that nothing was found for
is a remark: what is mended should not stay accepted.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kvsync.ci.entries import load_entries
from kvsync.ci.readers.audits.finding import IDS, PACKAGE, is_audit
from kvsync.testing.results.outcome import Check, Outcome, StageResult, merge

ACCEPTED = "accepted.toml"
"""Where it lies in a repository, and where a run keeps it, in its folder."""

LONGEST = timedelta(days=90)
"""Longer than a test may be in quarantine: others have to release the mend."""

Words = Annotated[str, Field(min_length=1, max_length=500)]


class AcceptedFinding(BaseModel):
    """One entry: what is accepted, by whom, why, and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: Words
    package: Annotated[str, Field(max_length=500)] = ""
    owner: Words
    reason: Words
    issue: Words
    added: date
    expires: date

    @model_validator(mode="after")
    def _ends(self) -> Self:
        latest = self.added + LONGEST
        if not self.added <= self.expires <= latest:
            raise ValueError(
                f"expires {self.expires} for what was added {self.added}: has to be from then to {latest}"
            )
        return self

    def covers(self, check: Check) -> bool:
        """Say whether a check is this finding."""
        ids = check.properties.get(IDS, "").split()
        return self.finding in ids and self.package in ("", check.properties.get(PACKAGE))

    def __str__(self) -> str:
        return (
            f"accepted from {self.added} until {self.expires} by {self.owner}: {self.reason} ({self.issue})"
        )


class Accepted(BaseModel):
    """The entries of a repository, under the name that they have in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: tuple[AcceptedFinding, ...] = ()


def load_accepted(file: Path) -> Accepted:
    """Read a file; without it nothing is accepted.

    Raises ConfigError with every problem: the path of the field and what is wrong.
    """
    return load_entries(Accepted, file, "accepted findings")


def accept(accepted: Accepted, stages: Sequence[StageResult]) -> list[StageResult]:
    """Set aside the findings that are accepted at the date of each stage; outcomes follow from the rest.

    What is in doubt for another reason than its checks stays so. What was not found is a remark of an audit.
    """
    if not accepted.accepted:
        return list(stages)
    found = [check for stage in stages for check in stage.checks if IDS in check.properties]
    unused = [each for each in accepted.accepted if not any(map(each.covers, found))]
    remarks = [f"{each.finding} is accepted and was not found: take it out" for each in unused]
    after = [_accepted(accepted, stage) for stage in stages]
    last = max((place for place, stage in enumerate(stages) if is_audit(stage)), default=None)
    if last is not None and remarks:
        after[last] = replace(after[last], remarks=(*after[last].remarks, *remarks))
    return after


def _accepted(accepted: Accepted, stage: StageResult) -> StageResult:
    today = stage.started_at.date()
    checks = [
        _judged(check, [each for each in accepted.accepted if each.covers(check)], today)
        for check in stage.checks
    ]
    if checks == list(stage.checks):
        return stage
    after = merge(stage.name, checks, started_at=stage.started_at, duration_s=stage.duration_s, log=stage.log)
    after = replace(after, remarks=stage.remarks)
    return after.doubted(stage.doubt) if stage.doubt else after


def _judged(check: Check, entries: Sequence[AcceptedFinding], today: date) -> Check:
    """Judge a check by the entry that lasts longest of those that cover it."""
    if not entries or check.outcome is not Outcome.FAILED:
        return check
    entry = max(entries, key=lambda each: each.expires)
    if today < entry.added:
        return check
    if today > entry.expires:
        return _noted(check, f"{entry} is over: it counts again")
    return replace(_noted(check, str(entry)), kind="quarantined")


def _noted(check: Check, note: str) -> Check:
    return replace(check, detail="\n".join(filter(None, [check.detail, note])))
