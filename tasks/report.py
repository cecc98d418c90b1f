"""The report of a run."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.handover.coverage import judge_coverage_safely
from kvsync.ci.report.report import Report
from kvsync.ci.run.judgement import judge
from kvsync.ci.run.run import Run


@task(name="report", task_run_name="report", cache_policy=NO_CACHE)
def write_report(run: Run) -> Report:
    """Judge the run by what its folder holds, and write the report there."""
    judge_coverage_safely(run)
    return judge(run)
