"""The commit that a run tests."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.report.owners import PLACES
from kvsync.ci.revision import Revision
from kvsync.ci.run.accepted import ACCEPTED
from kvsync.ci.run.kept import keep_file, keep_owners
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.quarantine import PROPOSED, keep_quarantine
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.ci.stages.stage import StageContext, keep_result, run_safely
from kvsync.ci.stages.workspace import NAME, WorkspaceStage, at_gate, head
from kvsync.testing.errors import ClusterError
from kvsync.testing.results.outcome import Outcome, StageResult
from kvsync.testing.results.verdicts import NotRun


def follows_branch(run: Run) -> bool:
    """Say whether a run has yet to find its commit.

    Without a name, and without `github.repository`, it is not known of which repository: the files are tested
    as they lie here.
    """
    is_known = bool(run.parameters.follows or run.settings.github.repository)
    return means_the_newest(run.parameters) and is_known


def means_the_newest(parameters: Parameters) -> bool:
    """Say whether a run is of no certain commit: a schedule names none.

    Another attempt is of what the first one tested, if that found anything to test.
    """
    is_bare = bool(parameters.trigger == "schedule" or parameters.follows) and not parameters.source
    return is_bare and not (parameters.repeat and not RunFolder(parameters.run_dir).result(NAME))


def with_head(run: Run, context: StageContext) -> tuple[Run, StageContext]:
    """Return both with the commit that such a run tests, if it can be found; the folder keeps it."""
    state = find_head(run, context, return_state=True)
    if not state.is_completed():
        run.folder.keep_revision(Revision())  # the files that lie here are not tested either
        return run, context
    parameters = run.parameters.model_copy(update={"source": state.result()})
    parameters.keep_in(run.folder)
    context = replace(context, repository=parameters.checkout, other_code="")
    return replace(run, parameters=parameters), context


@task(name="head", task_run_name="head", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def find_head(run: Run, context: StageContext) -> CommitSource:
    """Return the newest commit of the reference branch; tried three times.

    A failure is a result in the run's folder, and is raised for Prefect to try again.
    """
    name = run.parameters.follows
    mend = "look at github.repository, github.web_url, archive.branch and KVSYNC_CI_GITHUB_TOKEN"
    if name:
        mend = f"look at [repositories.{name}] in kvsync-ci.toml"
    try:
        return newest(run.settings, name, context)
    except NotRun as exc:
        result = keep_result(StageResult.unknown(NAME, f"not run: {exc}; {mend}"), context, whole=True)
        raise ClusterError(result.reason) from exc


def newest(settings: Settings, name: str, context: StageContext) -> CommitSource:
    """Return the newest commit of a configured repository, or of `github.repository` for "".

    Raises NotRun in git's words, also for a name that is not configured.
    """
    server, branch = settings.github.web_url, settings.archive.branch
    url = f"{server}/{settings.github.repository}"
    if name:
        if name not in settings.repositories:
            raise NotRun(f"there is no repository {name!r}")
        url, branch = settings.repositories[name].url, settings.repositories[name].branch
    on_github = url.startswith(f"{server}/")
    token = settings.github.token.get_secret_value() if on_github else ""
    commit = head(url, branch, context, token)
    repository = url.removeprefix(f"{server}/").removesuffix(".git") if on_github else ""
    return CommitSource(url=url, commit=commit, repository=repository, ref=branch)


def earlier_run_of(parameters: Parameters, commit: str) -> str:
    """Return the earlier run of a followed branch that tested this commit, "" if none did."""
    for folder in sorted(parameters.report_dir.glob("*/parameters.json"), reverse=True):
        with suppress(OSError, ValueError):
            earlier = Parameters.model_validate_json(folder.read_bytes())
            if earlier.follows == parameters.follows and earlier.source and earlier.source.commit == commit:
                return folder.parent.name
    return ""


@task(name="workspace", task_run_name="workspace", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def check_out(run: Run, context: StageContext) -> StageResult:
    """Fetch the commit for the run; tried three times, since networks have bad moments.

    The result is in the run's folder, also of a failure, which is raised for Prefect to try again. Only a
    trusted source is fetched with our token, and only from the server that the token belongs to.
    """
    source, settings = run.parameters.source, run.settings
    assert source is not None
    ours = source.trusted and source.url.startswith(f"{settings.github.web_url}/")
    token = settings.github.token.get_secret_value() if ours else ""
    file = settings.archive.quarantine
    files = [file, Path(ACCEPTED), *PLACES]
    stage = WorkspaceStage(source.url, source.commit, token, gate=source.gate, files=files)
    result = run_safely(stage, context)
    if result.outcome is not Outcome.PASSED:
        raise ClusterError(result.reason)
    own = source.gates_itself
    gate = context.repository if own else at_gate(context.repository)
    keep_quarantine(gate, file, context.run_dir)
    keep_file(gate, ACCEPTED, context.run_dir, ACCEPTED)
    keep_owners(gate, context.run_dir)
    if not own:
        keep_quarantine(context.repository, file, context.run_dir, PROPOSED)
    return result
