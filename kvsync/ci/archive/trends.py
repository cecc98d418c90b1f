"""How runs like this one went lately, and how long the next will take: from the archive, for the page."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.records import PastRun
from kvsync.ci.paired.judgement import NOT_SLOWER
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import OUTCOMES, Outcome

RUNS = 30
"""More would make the charts unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """The last runs, the oldest first and this one last; `eta_s`: seconds by stage, where they are known.

    `benchmarks`: what was measured when, by name, metric, unit and conditions.
    """

    runs: Sequence[PastRun] = ()
    eta_s: Mapping[str, float] = field(default_factory=dict)
    benchmarks: Mapping[str, Sequence[tuple[datetime, float]]] = field(default_factory=dict)

    @property
    def pass_rates(self) -> list[tuple[PastRun, float]]:
        """The share of checks that passed, of those that were decided, for each run that decided any."""
        rates = []
        for run in self.runs:
            decided = [
                (OUTCOMES[kind], count)
                for stage in run.stages
                for kind, count in stage.counts.items()
                if OUTCOMES[kind] is not Outcome.UNKNOWN
            ]
            if total := sum(count for _, count in decided):
                passed = sum(count for outcome, count in decided if outcome is Outcome.PASSED)
                rates.append((run, passed / total))
        return rates

    @property
    def durations_s(self) -> dict[str, list[tuple[datetime, float]]]:
        """When each stage took how long, in the order of the last run that had it."""
        found: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
        for run in reversed(self.runs):
            for stage in run.stages:
                if stage.duration_s > 0:
                    found[stage.name].insert(0, (run.started_at, stage.duration_s))
        return dict(found)


def trends_of(archive: Archive, report: Report) -> Trends:
    """Read the trends up to a run that is in the archive; ArchiveError when the database does not answer."""
    scope = archive.scope(report.parameters)
    runs = [run for run in archive.series(scope=scope, limit=RUNS) if run.started_at <= report.started_at][
        ::-1
    ]
    benchmarks: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    measured = archive.measurements([run.run for run in runs])
    for run in runs:
        for each in measured.get(run.run, []):
            conditions = "".join(f", {name} {value}" for name, value in each.parameters.items())
            title = f"{each.name} {each.metric}, {each.unit}{conditions}"
            benchmarks[title].append((run.started_at, each.value))
    stages = [stage.name for stage in report.stages]
    compared = [
        stage.name
        for stage in report.stages
        if any(check.name.endswith(NOT_SLOWER) for check in stage.checks)
    ]
    eta_s = archive.eta(stages, scope, compared)
    return Trends(runs=runs, eta_s=eta_s, benchmarks=dict(benchmarks))
