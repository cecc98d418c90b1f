"""The tables of the archive: runs, their stages, the checks of each stage, and what was measured."""

from datetime import UTC, datetime

from sqlalchemy import JSON, DateTime, Dialect, Double, ForeignKey, Index, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from kvsync.ci.report.junit_writer import ILLEGAL


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps no time zone, and PostgreSQL answers in that of the session."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what was stored, with its zone."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class AnyText(TypeDecorator[str]):
    """Any text: PostgreSQL takes no NUL, and neither database a lone surrogate."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be stored."""
        return value and kept_text(value)


def kept_text(text: str) -> str:
    """Return a text with nothing in it that cannot be stored."""
    if text.isascii() and text.isprintable():  # as nearly all are; this is quicker
        return text
    return ILLEGAL.sub("\ufffd", text)


class Table(DeclarativeBase):
    """The root of the tables."""

    type_annotation_map = {str: AnyText, float: Double, datetime: Moment}  # noqa: RUF012 - SQLAlchemy reads it from the class


TELLS = text("(kind <> 'passed' OR mixed)")
"""Which checks an index has by themselves, word for word: databases use it where a query says the same."""

TELLING = ("run_id", "stage", "name", "kind", "mixed")
"""What is asked of them: SQLite reads an index through only if the table is not needed besides."""


class RunRow(Table):
    """One run. `repository`: owner/name, or the folder's name; `cluster`: its kind, such as "kind".

    `branch` is "" for an untrusted source, which may be named like any branch of ours.
    """

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    duration_s: Mapped[float]
    repository: Mapped[str]
    profile: Mapped[str]
    cluster: Mapped[str]
    commit: Mapped[str] = mapped_column("commit_hash")
    branch: Mapped[str]
    pull_request: Mapped[int | None]
    trigger: Mapped[str] = mapped_column("trigger_kind")
    dirty: Mapped[bool]
    verdict: Mapped[str]
    reason: Mapped[str]
    stages: Mapped[list["StageRow"]] = relationship(
        order_by="StageRow.position", cascade="all", passive_deletes=True
    )
    measurements: Mapped[list["MeasurementRow"]] = relationship(cascade="all", passive_deletes=True)

    __table_args__ = (Index("runs_of_a_scope", "repository", "profile", "cluster", "started_at"),)


class StageRow(Table):
    """One stage of a run; `position` is its place in it."""

    __tablename__ = "stages"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    outcome: Mapped[str]
    reason: Mapped[str]
    started_at: Mapped[datetime]
    duration_s: Mapped[float]


class CheckRow(Table):
    """One check of a stage. `attempts` counts all, `mixed` says that they ended on both sides.

    `fingerprint`: what its failure shares with others of the same cause, "" when it passed.
    """

    __tablename__ = "checks"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    duration_s: Mapped[float]
    attempts: Mapped[int]
    mixed: Mapped[bool]
    fingerprint: Mapped[str]

    __table_args__ = (
        Index("checks_by_name", "name", "stage"),
        Index("checks_that_tell", *TELLING, sqlite_where=TELLS, postgresql_where=TELLS),
    )


class MeasurementRow(Table):
    """One number that a run measured, in the order of its file; `conditions` are its parameters."""

    __tablename__ = "measurements"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    metric: Mapped[str]
    value: Mapped[float]
    unit: Mapped[str]
    samples: Mapped[int]
    better: Mapped[str]
    goal: Mapped[float | None]
    conditions: Mapped[dict[str, str | int | float | bool]] = mapped_column(JSON)
