"""The task that runs a stage."""

import os
from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.run.judgement import set_aside
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.catalogue import STAGES
from kvsync.ci.stages.redaction import redact_folder, secrets_of
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.results.outcome import Outcome, StageResult
from tasks.archive import known_tests
from tasks.github import report_stage, report_start
from tasks.progress import shown_progress


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE)
def run_stage(name: str, context: StageContext, parameters: Parameters) -> StageResult:
    """Run one stage; the result is a value, whatever happens, and is on disk before it is returned."""
    log = get_run_logger()
    report_start(parameters, name, log)
    with shown_progress(parameters, name, log, context.stop):
        result = run_safely(STAGES[name], replace(context, known=known_tests(parameters, name)))
    if redact_folder(context.run_dir, secrets_of(os.environ)):
        result = RunFolder(context.run_dir).result(name) or result
    gating, *_ = set_aside(RunFolder(context.run_dir), [result])
    log.log(_LEVELS[gating.outcome], "%s", gating.summary())
    report_stage(parameters, gating, log)
    return result


_LEVELS = {Outcome.PASSED: 20, Outcome.UNKNOWN: 30, Outcome.FAILED: 40}
