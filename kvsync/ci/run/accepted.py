"""Findings and slowdowns that a repository accepts for a time: `accepted.toml` at its top.

```
[[accepted]]
finding = "PYSEC-2021-108"               # or any other name of it
package = "urllib3"                      # or a file; without it, wherever it is found
owner = "@name"
reason = "only internal addresses are opened with it"
issue = "https://github.com/owner/name/issues/12"
added = 2026-11-20
expires = 2027-02-01                     # at most 90 days later

[[slower]]
measure = "apply 64 of a prompt's blocks"
up_to = 15                               # percent more than before; what is slower still fails
owner = "@name"
reason = "every block is now checked against its parent"
added = 2026-11-20
expires = 2026-12-04                     # at most 30 days later: by then it is merged, and no longer a change
```

An entry holds from `added` to the end of `expires`; after that it counts again, and says why. What it accepts
is shown as quarantined: it neither fails nor proves anything. A finding that is accepted and was not found is
a remark: what is mended should not stay accepted. Of a pull request the file of its base branch counts,
of a run by hand the one that lies there.
`kvsync-ci baseline accept` writes entries about slowdowns.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kvsync.ci.entries import DatedEntry, EntryText, load_entries
from kvsync.ci.readers.audits.finding import IDS, PACKAGE, is_audit
from kvsync.ci.stages.compared.checks import MEASURE, SLOWER
from kvsync.ci.toml_table import TomlTable
from kvsync.testing.results.outcome import Check, Checks, Outcome, StageResult, merge

ACCEPTED = "accepted.toml"
"""Where it lies in a repository, and where a run keeps it, in its folder."""


class AcceptedFinding(DatedEntry):
    """One finding that is accepted, by whom, why, and until when."""

    # Longer than a test may be in quarantine: others have to release the mend.
    longest = timedelta(days=90)

    finding: EntryText
    package: Annotated[str, Field(max_length=500)] = ""
    issue: EntryText

    def covers(self, check: Check) -> bool:
        """Say whether a check is this finding."""
        ids = check.properties.get(IDS, "").split()
        is_here = self.package in ("", check.properties.get(PACKAGE))
        return check.outcome is Outcome.FAILED and self.finding in ids and is_here

    def too_much(self, check: Check) -> str:
        """Say in how far a check is more than what is accepted: a finding never is."""
        return ""

    def __str__(self) -> str:
        return (
            f"accepted from {self.added} until {self.expires} by {self.owner}: {self.reason} ({self.issue})"
        )


class AcceptedSlowdown(DatedEntry):
    """One measure that may get worse, by how many percent, who wants that, why, and until when."""

    longest = timedelta(days=30)

    measure: EntryText
    up_to: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    issue: Annotated[str, Field(max_length=500)] = ""

    def covers(self, check: Check) -> bool:
        """Say whether a check is that this measure is slower, or not measured any more."""
        is_gone = check.kind == "inconclusive" and SLOWER not in check.properties
        is_bad = check.outcome is Outcome.FAILED or is_gone
        return is_bad and check.properties.get(MEASURE) == self.measure

    def too_much(self, check: Check) -> str:
        """Say in how far a check is more than what is accepted; "" if it is not."""
        slower = float(check.properties.get(SLOWER, "0").rstrip("%"))
        return f"up to {self.up_to:g} % are accepted" if slower > self.up_to else ""

    def __str__(self) -> str:
        issue = f" ({self.issue})" if self.issue else ""
        return f"accepted from {self.added} until {self.expires} by {self.owner}: {self.reason}{issue}"


class Accepted(TomlTable):
    """The entries of a repository, under the names that they have in the file."""

    accepted: tuple[AcceptedFinding, ...] = ()
    slower: tuple[AcceptedSlowdown, ...] = ()


def load_accepted(file: Path) -> Accepted:
    """Read a file; without it nothing is accepted.

    Raises ConfigError with every problem: the path of the field and what is wrong.
    """
    return load_entries(Accepted, file, "what is accepted")


def accept(accepted: Accepted, stages: Sequence[StageResult]) -> list[StageResult]:
    """Set aside what is accepted at the date of each stage; outcomes follow from the rest.

    What is in doubt for another reason than its checks stays so. What was not found is a remark of an audit.
    """
    if not accepted.accepted and not accepted.slower:
        return list(stages)
    found = {
        (name, check.properties.get(PACKAGE, ""))
        for stage in stages
        for check in stage.where(lambda each: IDS in each.properties)
        for name in check.properties.get(IDS, "").split()
    }
    unused = [
        each
        for each in accepted.accepted
        if not any(each.finding == name and each.package in ("", package) for name, package in found)
    ]
    remarks = [f"{each.finding} is accepted and was not found: take it out" for each in unused]
    after = [_accepted(accepted, stage) for stage in stages]
    last = max((place for place, stage in enumerate(stages) if is_audit(stage)), default=None)
    if last is not None and remarks:
        after[last] = replace(after[last], remarks=(*after[last].remarks, *remarks))
    return after


def _accepted(accepted: Accepted, stage: StageResult) -> StageResult:
    today = stage.started_at.date()
    entries: tuple[AcceptedFinding | AcceptedSlowdown, ...] = (*accepted.accepted, *accepted.slower)
    checks = Checks(
        _judged(check, [each for each in entries if each.covers(check)], today) for check in stage.checks
    )
    if checks == stage.checks:
        return stage
    after = merge(stage.name, checks, started_at=stage.started_at, duration_s=stage.duration_s, log=stage.log)
    after = replace(after, remarks=stage.remarks)
    return after.doubted(stage.doubt) if stage.doubt else after


def _judged(check: Check, entries: Sequence[AcceptedFinding | AcceptedSlowdown], today: date) -> Check:
    """Judge a check by the entries that cover it: by one that accepts as much, and lasts longest."""
    begun = sorted((each for each in entries if today >= each.added), key=lambda each: each.expires)
    if not begun:
        return check
    hold = [each for each in begun if not each.is_over(today)]
    if not hold:
        return _noted(check, f"{begun[-1]} is over: it counts again")
    enough = [each for each in hold if not each.too_much(check)]
    if not enough:
        return _noted(check, f"{hold[-1]}: {hold[-1].too_much(check)}, and this is more")
    return replace(_noted(check, str(enough[-1])), kind="quarantined")


def _noted(check: Check, note: str) -> Check:
    return replace(check, detail="\n".join(filter(None, [check.detail, note])))
