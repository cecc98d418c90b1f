"""What did not pass in a run, grouped by what looks like one cause."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import NEUTRAL, Check, CheckKind, Outcome, StageResult


@dataclass(frozen=True, slots=True)
class Problem:
    """Checks that did not pass for what looks like one cause, each with the name of its stage."""

    kind: CheckKind
    headline: str
    checks: Sequence[tuple[str, Check]]

    @property
    def outcome(self) -> Outcome:
        """The outcome of its checks, which all have the same."""
        return self.checks[0][1].outcome


def problems(report: Report) -> list[Problem]:
    """Group what did not pass by its likely cause: the worst first, and the most frequent first."""
    groups: dict[tuple[CheckKind, str], list[tuple[str, Check]]] = defaultdict(list)
    for stage in report.stages:
        for check in stage.where(is_bad):
            groups[check.kind, fingerprint(check.headline)].append((stage.name, check))
    found = [Problem(kind, checks[0][1].headline, checks) for (kind, _), checks in groups.items()]
    return sorted(found, key=lambda problem: (-problem.outcome, -len(problem.checks)))


def doubts(report: Report) -> list[StageResult]:
    """Return the stages whose checks do not say why they are in doubt, such as a file that was cut off."""
    return [stage for stage in report.stages if stage.doubt and not _is_said(stage, stage.doubt)]


def is_bad(check: Check) -> bool:
    """Say whether somebody has to look at a check."""
    return check.outcome is not Outcome.PASSED and check.kind not in NEUTRAL


def _is_said(stage: StageResult, doubt: str) -> bool:
    return stage.has(lambda check: bool(check.headline) and check.headline in doubt)


def fingerprint(headline: str) -> str:
    """Reduce a message to what its repetitions share, without numbers, hashes and addresses."""
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b|\d+(\.\d+)*", "#", headline.lower())
