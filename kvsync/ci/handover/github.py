"""What goes back to GitHub. It decides nothing: what cannot be sent is in the log, with its mend.

Statuses while a run goes on are sent by plain calls, once and with little patience: as tasks with retries
they would cost more than they tell, and the end of the run sends every status again. Only the beginning and
the end are tasks. A fork's run is reported like any other: the token is used here, not where its code runs.
"""

import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.notify.github import CommitStatus, GitHub, NotSent
from kvsync.ci.notify.github_text import (
    issue_change,
    issue_mark,
    pending,
    report_comment,
    run_status,
    stage_context,
    stage_status,
)
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import REPOSITORY, CommitSource, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import GitHubSettings, load_settings
from kvsync.testing.results.outcome import StageResult

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]
GitHubStep = Callable[[GitHub], None]

START_PATIENCE_S = 15.0
END_PATIENCE_S = 60.0
HURRIED_PATIENCE_S = 3.0
"""An interrupted run has a few seconds to end by itself before it is killed."""

PASSING_PATIENCE_S = 0.5
"""For a status that is sent between two stages; one that is lost comes at the end."""

SHORT_TIMEOUT_S = 3
"""Of a request while somebody waits."""


@task(name="announce", task_run_name="announce", cache_policy=NO_CACHE)
def announce_stages(parameters: Parameters) -> None:
    """Show every stage as pending on the commit, so that none is missing when the run dies."""
    folder = RunFolder(parameters.run_dir)
    folder.told.unlink(missing_ok=True)
    folder.notified.unlink(missing_ok=True)
    settings, log, source = _settings(), get_run_logger(), _source(parameters)
    if not settings.token and (source or _issues_in(parameters, settings)):
        log.warning("nothing is sent to GitHub: there is no token; put one into KVSYNC_CI_GITHUB_TOKEN")
    if source:
        names = [settings.context, *(stage_context(settings.context, name) for name in parameters.stages)]
        waiting = [pending(name, "waiting") for name in names]
        _tell(settings, [_statuses(source, waiting)], log, patience_s=START_PATIENCE_S)


def report_start(parameters: Parameters, stage: str, log: Log) -> None:
    """Show that a stage runs."""
    _tell_in_passing(parameters, lambda context: pending(stage_context(context, stage), "running"), log)


def report_stage(parameters: Parameters, result: StageResult, log: Log) -> None:
    """Show how a stage ended; what is new about it is known at the end of the run only."""
    _tell_in_passing(parameters, lambda context: stage_status(context, result), log)


@task(name="github", task_run_name="github", cache_policy=NO_CACHE)
def report_run(
    parameters: Parameters,
    report: Report,
    comparison: RunComparison | None,
    link: str,
    *,
    hurried: bool = False,
) -> None:
    """Send what a run found; see tell_github.

    `hurried`: give up soon, and leave what takes time to whoever sees to the end of the run.
    """
    settings = load_settings(REPOSITORY, os.environ)
    is_told = tell_github(parameters, report, comparison, link, get_run_logger(), hurried=hurried)
    if is_told and not (hurried and (settings.store.url or settings.notify.urls)):
        RunFolder(parameters.run_dir).told.touch()


def tell_github(
    parameters: Parameters,
    report: Report,
    comparison: RunComparison | None,
    link: str,
    log: Log,
    *,
    hurried: bool = False,
) -> bool:
    """Send every status, the pull request's comment, and what a scheduled run means for the issue.

    Doing it again changes nothing, so another process can do it for a run whose folder does not say `told`.
    `link`: of the report, "" for none. `hurried`: give up soon. Returns False when there is something that
    GitHub may take later.
    """
    settings = _settings()
    steps = list(_steps(parameters, settings, report, comparison, link))
    if hurried:
        done = _tell(settings, steps, log, patience_s=HURRIED_PATIENCE_S, timeout_s=SHORT_TIMEOUT_S)
    else:
        done = _tell(settings, steps, log, patience_s=END_PATIENCE_S)
    if not done:
        again = ["kvsync-ci", "upload", parameters.run, "--report-dir", str(parameters.report_dir)]
        log.warning("`kvsync-ci serve` tries for a day to send it to GitHub; now: %s", shlex.join(again))
    return done


def _steps(
    parameters: Parameters,
    settings: GitHubSettings,
    report: Report,
    comparison: RunComparison | None,
    link: str,
) -> Iterator[GitHubStep]:
    context, source = settings.context, _source(parameters)
    if source:
        ours = set(parameters.stages) - _judged_later(parameters, source)
        ended = [stage for stage in report.stages if stage.name in ours]
        statuses = [stage_status(context, each, link=link, comparison=comparison) for each in ended]
        if ours:
            statuses.append(run_status(context, report, link=link, comparison=comparison))
        yield _statuses(source, statuses)
    if source and source.pull_request:
        comment = report_comment(context, report, comparison, link)
        yield partial(
            GitHub.keep_comment, repository=source.repository, number=source.pull_request, comment=comment
        )
    if repository := _issues_in(parameters, settings):
        decide = partial(issue_change, context, report, comparison, link)
        yield partial(
            GitHub.keep_issue, repository=repository, label=context, mark=issue_mark(context), decide=decide
        )


def _judged_later(parameters: Parameters, source: CommitSource) -> set[str]:
    """Return the stages of later runs of the same commit, whose statuses have replaced those of this run."""
    found: set[str] = set()
    for path in parameters.report_dir.glob("*/parameters.json"):
        if path.parent.name > parameters.run:
            with suppress(OSError, ValueError):
                later = Parameters.model_validate_json(path.read_text())
                is_same = later.source and (later.source.repository, later.source.commit) == (
                    source.repository,
                    source.commit,
                )
                found |= set(later.stages) if is_same else set()
    return found


def _settings() -> GitHubSettings:
    """Return those of the pipeline, never those of the tested commit, which could send the token anywhere."""
    return load_settings(REPOSITORY, os.environ).github


def _source(parameters: Parameters) -> CommitSource | None:
    return parameters.source if parameters.source and parameters.source.repository else None


def _issues_in(parameters: Parameters, settings: GitHubSettings) -> str:
    """Return the repository whose issue a run opens and closes, "" if it does neither."""
    source = _source(parameters)
    return (settings.repository or (source.repository if source else "")) * (parameters.trigger == "schedule")


def _tell_in_passing(parameters: Parameters, status: Callable[[str], CommitStatus], log: Log) -> None:
    settings = _settings()
    if source := _source(parameters):
        step = _statuses(source, [status(settings.context)])
        _tell(settings, [step], log, patience_s=PASSING_PATIENCE_S, timeout_s=SHORT_TIMEOUT_S)


def _statuses(source: CommitSource, statuses: Sequence[CommitStatus]) -> GitHubStep:
    """Set statuses of a commit, up to the first that cannot be set: the others would fail alike."""

    def step(github: GitHub) -> None:
        for status in statuses:
            github.set_status(source.repository, source.commit, status)

    return step


def _tell(
    settings: GitHubSettings, steps: Sequence[GitHubStep], log: Log, *, patience_s: float, timeout_s: int = 10
) -> bool:
    """Carry out the steps, each whether or not the one before could be; False if one may work later."""
    if not settings.token:
        return True
    done = True
    with GitHub(settings, patience_s=patience_s, timeout_s=timeout_s) as github:
        for step in steps:
            try:
                step(github)
            except NotSent as exc:
                log.warning("%s", exc)
                done = done and not exc.passing
    return done
