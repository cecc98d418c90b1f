"""What goes into the archive and comes out of it, as values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal, Self, cast

from kvsync.ci.archive.flakiness import is_mixed
from kvsync.ci.archive.tables import MeasurementRow, RunRow, StageRow
from kvsync.ci.report.problems import fingerprint
from kvsync.ci.report.report import Report
from kvsync.ci.revision import repository_name
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import CheckKind, Outcome

LONGEST_FINGERPRINT = 300

INGESTED = "ingested"
"""What stands for the cluster of runs that another CI made: where they ran is not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScope:
    """What runs must share to be comparable. `cluster` is a kind, such as "local", or INGESTED."""

    repository: str
    profile: str
    cluster: str

    @classmethod
    def of(cls, asked: Mapping[str, object], web_url: str) -> Self:
        """Return the scope of a run by its parameters; `web_url` is the server of those called owner/name.

        A run is of the repository that it tests, whatever the pipeline's own is.
        """
        source = asked.get("source")
        facts: Mapping[str, object] = source if isinstance(source, Mapping) else {}
        where = str(facts.get("url") or asked.get("repository", ""))
        is_ingested = asked.get("trigger") == "ingest"
        return cls(
            repository=str(facts.get("repository") or "") or repository_name(where, web_url),
            profile=str(asked.get("profile", "quick")),
            cluster=INGESTED if is_ingested else str(asked.get("cluster", "local")).partition(":")[0],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStage:
    """How a stage of an earlier run ended; `counts` are its checks by kind."""

    name: str
    outcome: Outcome
    duration_s: float
    counts: Mapping[CheckKind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """An earlier run, without its checks."""

    run: str
    started_at: datetime
    duration_s: float
    scope: RunScope
    commit: str
    branch: str
    pull_request: int | None
    trigger: str
    dirty: bool
    verdict: Outcome
    reason: str
    stages: Sequence[PastStage]


def to_row(report: Report, scope: RunScope, measurements: Sequence[Measurement]) -> RunRow:
    """Return what the archive keeps of a report but its checks, and of what was measured: finite numbers."""
    asked = report.parameters
    source = asked.get("source")
    facts: Mapping[str, object] = source if isinstance(source, Mapping) else {}
    number = facts.get("pull_request")
    return RunRow(
        id=report.run,
        started_at=report.started_at,
        duration_s=report.duration_s,
        repository=scope.repository,
        profile=scope.profile,
        cluster=scope.cluster,
        commit=report.commit,
        branch=report.branch if facts.get("trusted", True) else "",
        pull_request=number if isinstance(number, int) else None,
        trigger=str(asked.get("trigger", "manual")),
        dirty=report.differs,
        verdict=report.verdict.name.lower(),
        reason=report.reason,
        stages=[
            StageRow(
                position=position,
                name=stage.name,
                outcome=stage.outcome.name.lower(),
                reason=stage.reason,
                started_at=stage.started_at,
                duration_s=stage.duration_s,
            )
            for position, stage in enumerate(report.stages)
        ],
        measurements=[
            _measurement_row(position, each)
            for position, each in enumerate(measurements)
            if math.isfinite(each.value)
        ],
    )


def check_rows(report: Report) -> Iterator[dict[str, object]]:
    """Yield what the archive keeps of each check, as the columns of its table: a row object costs ten times
    as much, and a run may have a hundred thousand."""
    for stage in report.stages:
        for position, check in enumerate(stage.checks):
            said = "" if check.outcome is Outcome.PASSED else fingerprint(check.headline)
            yield {
                "run_id": report.run,
                "stage": stage.name,
                "position": position,
                "name": check.name,
                "kind": check.kind,
                "duration_s": check.duration_s,
                "attempts": 1 + len(check.attempts),
                "mixed": is_mixed(check),
                "fingerprint": said[:LONGEST_FINGERPRINT],
            }


def _measurement_row(position: int, measurement: Measurement) -> MeasurementRow:
    fields = asdict(measurement)
    conditions = fields.pop("parameters")
    return MeasurementRow(position=position, conditions=dict(conditions), **fields)


def from_row(row: RunRow, counts: Mapping[tuple[str, str], Mapping[CheckKind, int]]) -> PastRun:
    """Return a run as a value; `counts` by run and stage."""
    return PastRun(
        run=row.id,
        started_at=row.started_at,
        duration_s=row.duration_s,
        scope=RunScope(repository=row.repository, profile=row.profile, cluster=row.cluster),
        commit=row.commit,
        branch=row.branch,
        pull_request=row.pull_request,
        trigger=row.trigger,
        dirty=row.dirty,
        verdict=Outcome[row.verdict.upper()],
        reason=row.reason,
        stages=tuple(
            PastStage(
                name=stage.name,
                outcome=Outcome[stage.outcome.upper()],
                duration_s=stage.duration_s,
                counts=counts.get((row.id, stage.name), {}),
            )
            for stage in row.stages
        ),
    )


def measurement_of(row: MeasurementRow) -> Measurement:
    """Return a measurement as a value."""
    return Measurement(
        name=row.name,
        metric=row.metric,
        value=row.value,
        unit=row.unit,
        samples=row.samples,
        better=cast("Literal['lower', 'higher']", row.better),
        goal=row.goal,
        parameters=row.conditions,
    )
