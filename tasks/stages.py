"""The task that runs a stage."""

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.handover.archiving import known_tests, sharing
from kvsync.ci.handover.github import report_stage, report_start
from kvsync.ci.run.judgement import gating
from kvsync.ci.run.run import Run
from kvsync.ci.stages.redaction import redact_folder
from kvsync.ci.stages.stage import StageContext, keep_result, run_safely, seconds_left
from kvsync.testing.results.outcome import Outcome, StageResult
from tasks.progress import shown_progress


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE)
def run_stage(name: str, context: StageContext, run: Run) -> Outcome:
    """Run one stage; its result is on disk, whatever happens, and how it ended is returned.

    Prefect keeps what tasks return as long as the run lasts, and a result may have 100,000 checks.
    """
    log = get_run_logger()
    report_start(run, name, log)
    with shown_progress(run, name, log, context.stop):
        left_s = seconds_left(context)
        if unmet := run.unmet(name, left_s):
            result = keep_result(StageResult.unknown(name, unmet), context)
        else:
            known, found = known_tests(run, name, log), sharing(run, name, log)
            context = replace(context, known=known, durations_s=found.durations_s, elsewhere=found.elsewhere)
            result = run_safely(run.stage(name, left_s), context)
    if redact_folder(run.folder.path, run.installation.secrets):
        result = run.folder.result(name) or result
    result = gating(run.folder, result)
    log.log(_LEVELS[result.outcome], "%s", result.summary())
    report_stage(run, result, log)
    return result.outcome


_LEVELS = {Outcome.PASSED: 20, Outcome.UNKNOWN: 30, Outcome.FAILED: 40}
