"""The road of a report, each step a task."""

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger

from kvsync.ci.handover.handover import Handover, HandoverStep, Log, hand_over
from kvsync.ci.handover.roads import ROADS
from kvsync.ci.report.report import Report
from kvsync.ci.run.run import Run
from tasks.artifacts import show_report


def hand_over_report(run: Run, report: Report, *, interrupted: bool) -> None:
    """Hand the report over; an interrupted run has seconds, and leaves what takes long to others."""
    road = ROADS["last seconds" if interrupted else "full"]
    hand_over(Handover(run=run, report=report, show=show_report), road, get_run_logger(), carry=in_task)


def in_task(step: HandoverStep, handover: Handover, _: Log) -> Handover:
    """Take a step as a task, which Prefect tries again when it raises."""

    # Without arguments: Prefect looks for futures in every value within them, and reports are large.
    @task(
        name=step.name,
        task_run_name=step.name,
        retries=step.retries,
        retry_delay_seconds=step.retry_delay_s,
        cache_policy=NO_CACHE,
    )
    def carry_out() -> Handover:
        return step.act(replace(handover, retried=_is_retried(step)), get_run_logger())

    return carry_out()


def _is_retried(step: HandoverStep) -> bool:
    context = TaskRunContext.get()
    return context is not None and context.task_run.run_count <= step.retries
