"""What goes to GitHub. It decides nothing: what cannot be sent is in the log, with its mend.

Statuses while a run goes on are sent once and with little patience: as tasks with retries they would cost
more than they tell, and the end of the run sends every status again. A fork's run is reported like any other:
the token is used here, not where its code runs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING

from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.handover.storing import upload_again
from kvsync.ci.notify.github_text import (
    issue_change,
    issue_mark,
    pending,
    report_comment,
    run_status,
    stage_context,
    stage_status,
)
from kvsync.ci.notify.messages import CommitStatus, NotSent
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.run import Run
from kvsync.ci.settings import GitHubSettings
from kvsync.testing.results.outcome import StageResult

if TYPE_CHECKING:
    from kvsync.ci.notify.github import GitHub

GitHubStep = Callable[["GitHub"], None]

START_PATIENCE_S = 15.0
END_PATIENCE_S = 60.0
BRIEF_PATIENCE_S = 3.0
"""An interrupted run has a few seconds to end by itself before it is killed."""

PASSING_PATIENCE_S = 0.5
"""For a status that is sent between two stages; one that is lost comes at the end."""

SHORT_TIMEOUT_S = 3
"""Of a request while somebody waits."""


def announce(run: Run, log: Log) -> None:
    """Show every stage as pending on the commit, so that none is missing when the run dies."""
    run.folder.told.unlink(missing_ok=True)
    run.folder.notified.unlink(missing_ok=True)
    settings, source = run.settings.github, _source(run.parameters)
    if not settings.token and (source or _issues_in(run)):
        log.warning("nothing is sent to GitHub: there is no token; put one into KVSYNC_CI_GITHUB_TOKEN")
    if source:
        stages = [stage_context(settings.context, name) for name in run.parameters.stages]
        waiting = [pending(name, "waiting") for name in (settings.context, *stages)]
        _tell(settings, [_statuses(source, waiting)], log, patience_s=START_PATIENCE_S)


def report_start(run: Run, stage: str, log: Log) -> None:
    """Show that a stage runs."""
    _tell_in_passing(run, pending(stage_context(run.settings.github.context, stage), "running"), log)


def report_stage(run: Run, result: StageResult, log: Log) -> None:
    """Show how a stage ended; what is new about it is known only at the end of the run."""
    _tell_in_passing(run, stage_status(run.settings.github.context, result), log)


def tell_github(
    handover: Handover, log: Log, *, patience_s: float = END_PATIENCE_S, timeout_s: int = 10
) -> Handover:
    """Send every status, the pull request's comment, and what a scheduled run means for the issue.

    Doing it again changes nothing, so another process can do it for a run whose folder does not say `told`.
    What GitHub may take later is pending then.
    """
    run, steps = handover.run, list(_steps(handover))
    if _tell(run.settings.github, steps, log, patience_s=patience_s, timeout_s=timeout_s):
        return handover
    again = upload_again(run)
    log.warning("`kvsync-ci serve` tries for a day to send it to GitHub; now: %s", again)
    return replace(handover, pending=True)


def tell_github_briefly(handover: Handover, log: Log) -> Handover:
    """Do the same, and give up soon."""
    return tell_github(handover, log, patience_s=BRIEF_PATIENCE_S, timeout_s=SHORT_TIMEOUT_S)


def _steps(handover: Handover) -> Iterator[GitHubStep]:
    run, report, comparison, link = handover.run, handover.report, handover.comparison, handover.link
    context, parameters = run.settings.github.context, run.parameters
    source = _source(parameters)
    if source:
        later = _judged_later(parameters, source)
        ours = set(parameters.stages) - later
        ended = [stage for stage in report.stages if stage.name in ours]
        statuses = [stage_status(context, each, link=link, comparison=comparison) for each in ended]
        # Without any, its stages never became known. An ingested run is a part of what was tested.
        if (ours or not (parameters.stages or later)) and not parameters.is_ingested:
            statuses.append(run_status(context, report, link=link, comparison=comparison))
        yield _statuses(source, statuses)
    if source and source.pull_request and not parameters.is_ingested:
        comment = report_comment(context, report, comparison, link)
        yield methodcaller("keep_comment", source.repository, source.pull_request, comment)
    if repository := _issues_in(run):
        decide = partial(issue_change, context, report, comparison, link)
        yield methodcaller("keep_issue", repository, context, issue_mark(context), decide)


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


def _source(parameters: Parameters) -> CommitSource | None:
    return parameters.source if parameters.source and parameters.source.repository else None


def _issues_in(run: Run) -> str:
    """Return the repository whose issue a run opens and closes, "" if it does neither."""
    if run.parameters.trigger != "schedule":
        return ""
    source = _source(run.parameters)
    return run.settings.github.repository or (source.repository if source else "")


def _tell_in_passing(run: Run, status: CommitStatus, log: Log) -> None:
    if source := _source(run.parameters):
        step = _statuses(source, [status])
        _tell(run.settings.github, [step], log, patience_s=PASSING_PATIENCE_S, timeout_s=SHORT_TIMEOUT_S)


def _statuses(source: CommitSource, statuses: Sequence[CommitStatus]) -> GitHubStep:
    """Set statuses of a commit, up to the first that cannot be set: the others would fail alike."""

    def step(github: "GitHub") -> None:
        for status in statuses:
            github.set_status(source.repository, source.commit, status)

    return step


def _tell(
    settings: GitHubSettings, steps: Sequence[GitHubStep], log: Log, *, patience_s: float, timeout_s: int = 10
) -> bool:
    """Carry out the steps, each whether or not the one before could be; False if one may work later."""
    if not settings.token:
        return True
    # Imported here: a run without a token, as most are on a developer's machine, has no use for PyGithub.
    from kvsync.ci.notify.github import GitHub

    done = True
    with GitHub(settings, patience_s=patience_s, timeout_s=timeout_s) as github:
        for step in steps:
            try:
                step(github)
            except NotSent as exc:
                log.warning("%s", exc)
                done = done and not exc.passing
    return done
