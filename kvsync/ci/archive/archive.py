"""The results of all runs in a database: what is new, since when, how often, and how long it takes.

- Runs are compared when they share repository, profile and kind of cluster. The reference are those of a
  commit of the reference branch itself: no pull request, nothing uncommitted. Of these the last `LOOKBACK`
  are looked at, so a failure that is older than all of them is as old as the oldest.
- A stage that the reference lately never brought to a result in a profile is compared with the reference's
  runs of it in the other profile, which stand in: so a pull request's quick e2e is held against the nights'.
- A test is new that the reference lately ran in no profile and on no kind of cluster.
"""

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from sys import intern
from typing import Self, cast

from pydantic import SecretStr
from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, selectinload

from kvsync.ci.archive.comparison import CheckId, RunComparison, apart, compare
from kvsync.ci.archive.database import FILE, ArchiveError, Database
from kvsync.ci.archive.expectation import LAST_RUNS, expected_of
from kvsync.ci.archive.flakiness import Ending, side
from kvsync.ci.archive.records import (
    CHECK_COLUMNS,
    PastRun,
    RunScope,
    check_rows,
    from_row,
    measurement_of,
    report_of,
    to_row,
)
from kvsync.ci.archive.tables import TELLS, CheckRow, MeasurementRow, RunRow, StageRow
from kvsync.ci.project.values import RESERVED
from kvsync.ci.report.difference import RunDifference, difference
from kvsync.ci.report.report import Report
from kvsync.ci.settings import Settings
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import OUTCOMES, Check, CheckKind, Checks, Outcome, StageResult

LOOKBACK = 200

WEB_URL = "https://github.com"

MOST_NAMES = 500
"""How many names a query has at most; databases take some thousands, and reading all is as quick then."""

BATCH = 1_000
"""Rows that are handed to the database at once: a run may have a hundred times as many checks."""

FAILING = [kind for kind in OUTCOMES if side(kind) == "failed"]


class Archive:
    """Reads and writes one archive. Everything raises ArchiveError when the database does not answer."""

    def __init__(self, database: Database, *, branch: str = "main", web_url: str = WEB_URL) -> None:
        self.name = database.name
        self._database, self._branch, self._web_url = database, branch, web_url

    @classmethod
    def open(
        cls, url: SecretStr | str, report_dir: Path, *, branch: str = "main", web_url: str = WEB_URL
    ) -> Self:
        """Open the archive at a URL, or `archive.db` in the report folder, made if it is not there.

        `branch`: whose runs are the reference. `web_url`: the server of repositories called owner/name.
        """
        return cls(Database.open(url, report_dir), branch=branch, web_url=web_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back every connection."""
        self._database.close()

    def record(self, report: Report, measurements: Sequence[Measurement] = ()) -> None:
        """Keep the results of a run, and what it measured, in place of what was kept of it before."""
        row = to_row(report, self.scope(report.parameters), measurements)
        with self._database.writing() as connection, Session(connection) as session:
            session.execute(delete(RunRow).where(RunRow.id == row.id))
            session.add(row)
            session.flush()
            _insert_checks(connection, report)

    def scope(self, parameters: Mapping[str, object]) -> RunScope:
        """Return what the runs that one with these parameters can be compared with have in common."""
        return RunScope.of(parameters, self._web_url)

    def scopes(self) -> list[RunScope]:
        """Return the scopes of all runs."""
        fields = (RunRow.repository, RunRow.profile, RunRow.cluster)
        with self._database.reading() as connection:
            rows = connection.execute(select(*fields).distinct().order_by(*fields)).all()
        return [RunScope(repository=row[0], profile=row[1], cluster=row[2]) for row in rows]

    def compare(self, report: Report) -> RunComparison:
        """Say what is new in a run, by the runs that started before it."""
        scope, commit = self.scope(report.parameters), "" if report.differs else report.commit
        before = report.started_at
        among = or_(self._lately(scope, before), self._stand_ins(scope, before))
        unseen, gone = self._strange(scope, report)
        found = compare(
            report.stages,
            self._failed_among(scope, among, commit, _failing(report)),
            unseen=unseen,
            gone=gone,
            at=before,
            commit=commit,
            last_green=self._last_green(scope, before),
        )
        return replace(found, since_push=self._since_push(scope, report))

    def endings(self, scope: RunScope) -> dict[CheckId, list[Ending]]:
        """Return how checks ended that failed lately, the oldest first."""
        return self._failed_among(scope, self._lately(scope, None))

    def endings_of(self, name: str) -> dict[RunScope, dict[CheckId, list[Ending]]]:
        """Return how the checks whose name contains `name` ended lately, by scope; also in dirty runs."""
        found = {}
        for scope in self.scopes():
            named = CheckRow.name.contains(name, autoescape=True)
            lately = (
                select(RunRow.id).where(self._in(scope)).order_by(RunRow.started_at.desc()).limit(LOOKBACK)
            )
            found[scope] = self._endings(scope, CheckRow.run_id.in_(lately), named)
        return {scope: endings for scope, endings in found.items() if endings}

    def seen(self, scope: RunScope, stage: str) -> frozenset[str]:
        """Return the checks of a stage that the reference ran lately, in whatever scope of the repository."""
        query = select(CheckRow.name).where(CheckRow.stage == stage, self._alike(scope, None)).distinct()
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def _alike(self, scope: RunScope, before: datetime | None) -> ColumnElement[bool]:
        """Select the checks of the reference's last runs of a repository, in whatever scope."""
        alike = [each for each in self.scopes() if each.repository == scope.repository]
        runs = [CheckRow.run_id.in_(self._runs(each, before, self._is_reference)) for each in alike]
        return or_(false(), *runs)

    def _strange(self, scope: RunScope, report: Report) -> tuple[set[CheckId], set[CheckId]]:
        """Return which checks of a report the reference did not run lately, and which of its it has not.

        The reference's last run of a stage has most of them, in the same order: nothing is held of these.
        """
        unseen: set[CheckId] = set()
        gone: set[CheckId] = set()
        with self._database.reading() as connection:

            def found(*wanted: ColumnElement[bool]) -> Iterator[CheckId]:
                query = select(CheckRow.stage, CheckRow.name).where(*wanted).order_by(CheckRow.position)
                rows = connection.execute(query, execution_options={"yield_per": BATCH})
                return ((stage, name) for stage, name in rows)

            for stage in report.stages:
                last = self._last_of(scope.repository, stage.name, report.started_at)
                theirs = found(CheckRow.run_id == last, CheckRow.stage == stage.name)
                new, old = apart(_keys(stage), theirs)
                unseen |= new
                gone |= old
            names, lately = sorted({name for _, name in unseen}), self._alike(scope, report.started_at)
            for at in range(0, len(names), MOST_NAMES):
                known = set(found(lately, CheckRow.name.in_(names[at : at + MOST_NAMES])))
                gone |= known - unseen
                unseen -= known
        return unseen, gone.difference(*map(_keys, report.stages)) if gone else gone

    def _last_of(self, repository: str, stage: str, before: datetime) -> ScalarSelect[str]:
        return (
            select(RunRow.id)
            .join(StageRow, and_(StageRow.run_id == RunRow.id, StageRow.name == stage))
            .where(RunRow.repository == repository, self._is_reference, RunRow.started_at < before)
            .order_by(RunRow.started_at.desc())
            .limit(1)
            .scalar_subquery()
        )

    def eta(self, stages: Sequence[str], scope: RunScope, compared: Collection[str] = ()) -> dict[str, float]:
        """Return how many seconds stages will take, as far as that is known; of which some are `compared`."""
        with self._database.reading() as connection:
            among = self._in(scope)
            found = {
                stage: expected_of(connection, stage, among, is_compared=stage in compared)
                for stage in stages
            }
        return {stage: took_s for stage, took_s in found.items() if took_s is not None}

    def durations_s(
        self, scope: RunScope, stages: Sequence[str], before: datetime | None
    ) -> dict[str, float]:
        """Return what the tests of stages took, in seconds: medians of the last passes, in runs of the
        reference or, where it has none, in all; only in those that began `before`."""
        in_time = RunRow.started_at < before if before else true()
        times: dict[str, list[float]] = defaultdict(list)
        for wanted in (self._is_reference, true()):
            runs = self._newest(scope, stages, LAST_RUNS * len(stages), wanted, in_time)
            took = select(CheckRow.name, CheckRow.duration_s).where(
                CheckRow.run_id.in_(runs), CheckRow.stage.in_(stages), CheckRow.kind == "passed"
            )
            with self._database.reading() as connection:
                for name, duration_s in connection.execute(took):
                    times[name].append(duration_s)
            if times:
                break
        return {name: statistics.median(each) for name, each in times.items()}

    def ran_at(self, scope: RunScope, commit: str, stage: str) -> frozenset[str]:
        """Return the checks that a stage had when it last ran at a commit; none if it did not."""
        last = self._newest(scope, [stage], 1, RunRow.commit == commit, RunRow.dirty.is_(False))
        names = select(CheckRow.name).where(CheckRow.run_id.in_(last), CheckRow.stage == stage)
        with self._database.reading() as connection:
            return frozenset(connection.scalars(names))

    def _newest(
        self, scope: RunScope, stages: Sequence[str], limit: int, *wanted: ColumnElement[bool]
    ) -> Select[tuple[str]]:
        return (
            select(StageRow.run_id)
            .join(RunRow, RunRow.id == StageRow.run_id)
            .where(StageRow.name.in_(stages), self._in(scope), *wanted)
            .order_by(RunRow.started_at.desc(), RunRow.id)
            .limit(limit)
        )

    def series(
        self,
        *,
        scope: RunScope | None = None,
        reference: bool = False,
        stage: str = "",
        limit: int | None = 30,
        counted: bool = True,
    ) -> list[PastRun]:
        """Return the last runs, the newest first: of a scope, of the reference, with a stage, or all.

        Without `counted` their checks are not counted, which takes longest; without a limit it is every run.
        """
        wanted: list[ColumnElement[bool]] = [self._in(scope)] if scope else []
        wanted += [self._is_reference] if reference else []
        wanted += [RunRow.stages.any(StageRow.name == stage)] if stage else []
        return self._past_runs(wanted, limit, counted=counted)

    def newest(self, repository: str, branch: str, *, profile: str = "", stage: str = "") -> PastRun | None:
        """Return the last run of a commit of a branch itself; if named, in a profile and with a stage."""
        wanted = [
            RunRow.repository == repository,
            RunRow.branch == branch,
            RunRow.pull_request.is_(None),
            RunRow.dirty.is_(False),
        ]
        wanted += [RunRow.profile == profile] if profile else []
        wanted += [RunRow.stages.any(StageRow.name == stage)] if stage else []
        return next(iter(self._past_runs(wanted, 1, counted=True)), None)

    def _past_runs(
        self, wanted: Sequence[ColumnElement[bool]], limit: int | None, *, counted: bool
    ) -> list[PastRun]:
        query = (
            select(RunRow)
            .where(*wanted)
            .order_by(RunRow.started_at.desc(), RunRow.id.desc())
            .limit(limit)
            .options(selectinload(RunRow.stages))
        )
        with self._database.reading() as connection, Session(connection) as session:
            rows = session.scalars(query).all()
            counts = _counts(session, [row.id for row in rows]) if counted else {}
            return [from_row(row, counts) for row in rows]

    def measurements(self, runs: Sequence[str]) -> dict[str, list[Measurement]]:
        """Return what each of these runs measured, in its order; runs without measurements are left out."""
        query = (
            select(MeasurementRow)
            .where(MeasurementRow.run_id.in_(runs))
            .order_by(MeasurementRow.run_id, MeasurementRow.position)
        )
        found: dict[str, list[Measurement]] = defaultdict(list)
        with self._database.reading() as connection, Session(connection) as session:
            for row in session.scalars(query):
                found[row.run_id].append(measurement_of(row))
        return dict(found)

    def _checks(self, connection: Connection, run: str) -> Mapping[str, Sequence[Check]]:
        columns = (CheckRow.stage, CheckRow.name, CheckRow.kind, CheckRow.duration_s)
        query = select(*columns).where(CheckRow.run_id == run).order_by(CheckRow.stage, CheckRow.position)
        found: dict[str, Checks] = defaultdict(Checks)
        for stage, name, kind, duration_s in connection.execute(query):
            check = Check(name=name, kind=cast("CheckKind", kind), duration_s=duration_s)
            found[stage].append(check)
        return found

    def kinds(self, run: str) -> Iterator[tuple[str, str, CheckKind]]:
        """Yield the stage, the name and the kind of each check of a run."""
        query = select(CheckRow.stage, CheckRow.name, CheckRow.kind).where(CheckRow.run_id == run)
        with self._database.reading() as connection:
            for stage, name, kind in connection.execute(query.order_by(CheckRow.stage, CheckRow.position)):
                yield intern(stage), name, cast("CheckKind", kind)

    @property
    def _is_reference(self) -> ColumnElement[bool]:
        return and_(RunRow.branch == self._branch, RunRow.pull_request.is_(None), RunRow.dirty.is_(False))

    @staticmethod
    def _in(scope: RunScope) -> ColumnElement[bool]:
        return and_(
            RunRow.repository == scope.repository,
            RunRow.profile == scope.profile,
            RunRow.cluster == scope.cluster,
        )

    def _runs(
        self, scope: RunScope, before: datetime | None, wanted: ColumnElement[bool]
    ) -> Select[tuple[str]]:
        in_time = [RunRow.started_at < before] if before else []
        return (
            select(RunRow.id)
            .where(self._in(scope), RunRow.dirty.is_(False), wanted, *in_time)
            .order_by(RunRow.started_at.desc())
            .limit(LOOKBACK)
        )

    def _lately(self, scope: RunScope, before: datetime | None) -> ColumnElement[bool]:
        """Select the checks of the last runs of the reference and of the others, each by their own number."""
        reference = self._runs(scope, before, self._is_reference)
        others = self._runs(scope, before, ~self._is_reference)
        return or_(CheckRow.run_id.in_(reference), CheckRow.run_id.in_(others))

    def _stand_ins(self, scope: RunScope, before: datetime) -> ColumnElement[bool]:
        """Select the reference's checks in the other profile of stages without a reference in this one."""
        other = replace(scope, profile="full" if scope.profile == "quick" else "quick")
        here = self._runs(scope, before, self._is_reference)
        there = self._runs(other, before, self._is_reference)
        ended = select(StageRow.name).where(StageRow.run_id.in_(here), StageRow.outcome != "unknown")
        return and_(CheckRow.stage.not_in(ended), CheckRow.run_id.in_(there))

    def _failed_among(
        self, scope: RunScope, among: ColumnElement[bool], commit: str = "", failing: Collection[str] = ()
    ) -> dict[CheckId, list[Ending]]:
        """Return the endings of the checks that failed at least once; and at `commit` those of `failing`."""
        failed = select(CheckRow.name).where(among, TELLS, or_(CheckRow.kind.in_(FAILING), CheckRow.mixed))
        found = self._endings(scope, among, CheckRow.name.in_(failed))
        if not commit or not failing:
            return found
        few = [CheckRow.name.in_(failing)] if len(failing) <= MOST_NAMES else []
        return self._endings(scope, among, RunRow.commit == commit, *few) | found

    def _endings(self, scope: RunScope, *wanted: ColumnElement[bool]) -> dict[CheckId, list[Ending]]:
        query = (
            select(
                CheckRow.stage,
                CheckRow.name,
                CheckRow.kind,
                CheckRow.mixed,
                RunRow.id,
                case((RunRow.dirty, ""), else_=RunRow.commit),
                RunRow.started_at,
                self._is_reference,
                RunRow.profile != scope.profile,
            )
            .join(RunRow, RunRow.id == CheckRow.run_id)
            .where(*wanted)
            .order_by(RunRow.started_at, RunRow.id)
        )
        found: dict[CheckId, list[Ending]] = defaultdict(list)
        with self._database.reading() as connection:
            for stage, name, kind, mixed, run, commit, at, reference, stands_in in connection.execute(query):
                found[stage, name].append(
                    Ending(
                        run=run,
                        commit=commit,
                        at=at,
                        kind=cast("CheckKind", kind),
                        mixed=mixed,
                        reference=bool(reference),
                        stands_in=bool(stands_in),
                    )
                )
        return found

    def _since_push(self, scope: RunScope, report: Report) -> RunDifference | None:
        """Compare with the last run of another commit of the same pull request, in stages that it judged.

        A run that came to no result, such as one that a newer push ended, is passed over.
        """
        tested = [stage.name for stage in report.stages if stage.name not in RESERVED]
        judged = and_(StageRow.name.in_(tested), StageRow.outcome != "unknown")
        query = (
            select(RunRow)
            .where(
                self._in(scope),
                RunRow.pull_request == report.subject.pull_request,
                RunRow.dirty.is_(False),
                RunRow.commit.not_in(["", report.commit]),
                RunRow.started_at < report.started_at,
                RunRow.stages.any(judged),
            )
            .order_by(RunRow.started_at.desc(), RunRow.id.desc())
            .limit(1)
            .options(selectinload(RunRow.stages))
        )
        if report.subject.pull_request is None:
            return None
        with self._database.reading() as connection, Session(connection) as session:
            row = session.scalars(query).first()
            if row is None:
                return None
            before = report_of(row, self._checks(connection, row.id), report.parameters)
        judged_then = {stage.name for stage in before.stages if stage.outcome is not Outcome.UNKNOWN}
        stages = judged_then & {stage.name for stage in report.stages}
        return difference(_only(before, stages), _only(report, stages))

    def _last_green(self, scope: RunScope, before: datetime) -> tuple[str, str] | None:
        query = (
            select(RunRow.id, RunRow.commit)
            .where(
                self._in(scope), self._is_reference, RunRow.verdict == "passed", RunRow.started_at < before
            )
            .order_by(RunRow.started_at.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return (row[0], row[1]) if row else None


def _insert_checks(connection: Connection, report: Report) -> None:
    """Hand the driver rows as it takes them: SQLAlchemy's way there costs more than the database does."""
    statement = str(insert(CheckRow).compile(dialect=connection.dialect))
    rows = check_rows(report)
    while batch := list(islice(rows, BATCH)):
        named = [dict(zip(CHECK_COLUMNS, row, strict=True)) for row in batch]
        connection.exec_driver_sql(statement, batch if connection.dialect.positional else named)


def _keys(stage: StageResult) -> Iterator[CheckId]:
    return ((stage.name, check.name) for check in stage.checks)


def _only(report: Report, stages: Collection[str]) -> Report:
    return replace(report, stages=[stage for stage in report.stages if stage.name in stages])


def _failing(report: Report) -> list[str]:
    failing = (stage.where(lambda check: check.kind in FAILING) for stage in report.stages)
    return [check.name for check in chain.from_iterable(failing)]


def _counts(session: Session, runs: Sequence[str]) -> Mapping[tuple[str, str], Mapping[CheckKind, int]]:
    columns = (CheckRow.run_id, CheckRow.stage, CheckRow.kind)
    query = select(*columns, func.count()).where(CheckRow.run_id.in_(runs)).group_by(*columns)
    found: dict[tuple[str, str], dict[CheckKind, int]] = defaultdict(dict)
    for run, stage, kind, count in session.execute(query):
        found[run, stage][cast("CheckKind", kind)] = count
    return {key: {kind: kinds[kind] for kind in OUTCOMES if kind in kinds} for key, kinds in found.items()}


def open_archive(settings: Settings, report_dir: Path) -> Archive:
    """Open the archive that the settings name; ArchiveError when that fails."""
    return Archive.open(
        settings.archive.url,
        report_dir,
        branch=settings.archive.branch,
        web_url=settings.github.web_url,
    )


def existing_archive(settings: Settings, report_dir: Path) -> Archive:
    """Open it for those who only read: as open_archive, but the file in the report folder is not made."""
    if not settings.archive.url.get_secret_value() and not (report_dir / FILE).exists():
        raise ArchiveError(
            f"no run in {report_dir}: it has no {FILE}; "
            "name another folder with --report-dir, or start a run with: kvsync-ci run"
        )
    return open_archive(settings, report_dir)
