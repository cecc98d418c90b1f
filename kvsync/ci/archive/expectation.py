"""How long a stage will take, by how long it lately took."""

from statistics import median

from sqlalchemy import ColumnElement, Connection, exists, select

from kvsync.ci.archive.tables import CheckRow, RunRow, StageRow
from kvsync.ci.paired.judgement import NOT_SLOWER

LAST_RUNS = 10
"""The last runs of a stage whose times are looked at: more would remember how long it took long ago."""


def expected_of(
    connection: Connection, stage: str, among: ColumnElement[bool], *, is_compared: bool
) -> float | None:
    """Return the median of the last passes in seconds, None without any.

    A stage that is compared with its base spends most of its time on that, however it ends, so there the
    median is of the runs that compared it, if there are any.
    """
    compared = exists().where(
        CheckRow.run_id == StageRow.run_id,
        CheckRow.stage == StageRow.name,
        CheckRow.name.endswith(NOT_SLOWER, autoescape=True),
    )
    for wanted in ([compared] if is_compared else []) + [StageRow.outcome == "passed"]:
        took = (
            select(StageRow.duration_s)
            .join(RunRow, RunRow.id == StageRow.run_id)
            .where(StageRow.name == stage, wanted, among)
            .order_by(StageRow.started_at.desc())
            .limit(LAST_RUNS)
        )
        if found := list(connection.scalars(took)):
            return median(found)
    return None
