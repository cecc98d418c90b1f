"""Which stages a run has: what the tested repository says of itself."""

from kvsync.ci.project.model import FILE
from kvsync.ci.project.reading import read_project
from kvsync.ci.run.changes import keep_changes
from kvsync.ci.run.kept import keep_file
from kvsync.ci.run.run import Run
from kvsync.ci.stages.stage import StageContext, keep_result
from kvsync.ci.stages.workspace import changed_paths
from kvsync.errors import KVSyncError
from kvsync.testing.results.outcome import StageResult
from tasks.github import announce_stages

NAME = "stages"


def with_stages(run: Run, context: StageContext) -> tuple[Run, bool]:
    """Return the run with the stages that it has, and whether there are any; the folder keeps their names.

    What is wrong with the file of the repository is a result, which says it. Stages of which nobody knew are
    announced.
    """
    keep_file(context.repository, FILE, context.run_dir, FILE)
    changed = changed_paths(context.repository) if run.parameters.source else None
    try:
        found = run.of_project(read_project(context.repository), changed)
    except KVSyncError as exc:
        head, *problems = str(exc).splitlines()
        first = f"{', the first' if len(problems) > 1 else ''}: {problems[0]}" if problems else ""
        reason, detail = f"not run: {head}{first}", "\n".join([f"not run: {head}", *problems])
        keep_result(StageResult.unknown(NAME, reason, detail=detail), context, whole=True)
        return run, False
    run.folder.forget(NAME)
    keep_changes(found)
    if found.parameters.stages != run.parameters.stages:
        found.parameters.keep_in(run.folder)
        announce_stages(found)
    return found, True
