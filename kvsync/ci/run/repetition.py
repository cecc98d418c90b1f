"""Another attempt at a run that there is: the same parameters again, in the same folder."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from kvsync.ci.cleaning.launcher import is_running
from kvsync.ci.report.report import Report
from kvsync.ci.revision import Revision, revision
from kvsync.ci.run.parameters import Parameters, Repeat
from kvsync.ci.run_folder import RunFolder
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.outcome import Outcome


def prepare(folder: RunFolder, stages: Sequence[str], *, failed_only: bool) -> Parameters:
    """Return the parameters of the next attempt.

    Raises ConfigError when the run is still going on, cannot be read, or has nothing left to repeat.
    """
    if is_running(folder.ledger):
        raise ConfigError(folder.path.name, ["the run is still going on; wait for it or stop it"])
    try:
        given = Parameters.of(folder)
    except ValidationError as exc:
        why = "; ".join(each["msg"] for each in exc.errors())
        raise ConfigError(
            str(folder.parameters), [f"cannot be read: {why}; start another run with: kvsync-ci run"]
        ) from exc
    if given.is_ingested:
        problem = f"another CI made it; repeat it there, or read its files again with: {given.command}"
        raise ConfigError(folder.path.name, [problem])
    given = given.model_copy(update={"report_dir": folder.path.parent.resolve(), "run": folder.path.name})
    reports = [*folder.earlier, *([folder.report] if folder.report.exists() else [])]
    tested, now = folder.revision or Revision(), revision(given.repository, reports=given.report_dir)
    repeat = Repeat(
        attempt=given.repeat.attempt + 1 if given.repeat else 2,
        stages=to_repeat(given, Report.read(reports[-1]) if reports else None, stages),
        failed_only=failed_only,
        other_code="" if given.source else difference(tested, now),
    )
    return given.model_copy(update={"repeat": repeat})


def to_repeat(given: Parameters, report: Report | None, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages to repeat: those that are asked for, or else those that did not pass."""
    for unknown in set(stages) - set(given.stages):
        raise UnknownName("stage of the run", unknown, given.stages)
    passed = {stage.name for stage in report.stages if stage.outcome is Outcome.PASSED} if report else set()
    chosen = tuple(stage for stage in given.stages if (stage in stages if stages else stage not in passed))
    if not chosen and given.stages:  # without any, the first attempt did not come to know its stages
        raise ConfigError(given.run, ["every stage passed; name one to repeat with --stage"])
    return chosen


def stages_lately(report_dir: Path, repository: str, trigger: str) -> list[str]:
    """Return the stages of the newest run of a repository (owner/name) that has this trigger, if any."""
    for path in sorted(report_dir.glob("*/parameters.json"), reverse=True):
        with suppress(OSError, ValueError):
            given = Parameters.model_validate_json(path.read_bytes())
            if (
                given.stages
                and given.trigger == trigger
                and given.source
                and given.source.repository == repository
            ):
                return list(given.stages)
    return []


def difference(tested: Revision, now: Revision) -> str:
    """Name the code there is now, unless it is known to be the one that was tested.

    Uncommitted changes may or may not be the same as then.
    """
    if now.commit and now.commit == tested.commit and not (now.dirty or tested.dirty):
        return ""
    return f"{now.commit[:10] or 'unknown'}{' with uncommitted changes' if now.dirty else ''}"
