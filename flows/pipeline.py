"""From a trigger to a verdict."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Crashed, Failed

from kvsync.ci.interruption import stop_on_signal
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.testing.results.outcome import Outcome
from tasks.archive import archive_report
from tasks.artifacts import show_report
from tasks.cluster import create_cluster, give_back_all
from tasks.github import announce_stages, report_run
from tasks.identity import current_run_id, is_being_cancelled
from tasks.notify import notify_run
from tasks.report import write_report
from tasks.residue import clean_up
from tasks.stages import run_stage
from tasks.start import start_run
from tasks.upload import stored_at_last, upload_report
from tasks.workspace import check_out, follows_branch, with_head


@flow(name="pipeline", flow_run_name="{parameters.title}")
def run_pipeline(parameters: Parameters) -> State[Report]:
    """Run the stages in order, clean up, write the report and show it; the verdict is the final state.

    A failing stage stops none of the others: each is evidence of its own. What was interrupted is
    unknown, never passed, and is reported like the rest; so are the stages whose cluster cannot be made.
    """
    parameters = parameters.named(current_run_id())
    with stop_on_signal() as stop:
        context = start_run(parameters, stop)
        try:
            if follows_branch(parameters):
                parameters, context = with_head(parameters, context)
            announce_stages(parameters, return_state=True)
            ready = not follows_branch(parameters)
            if ready and parameters.source:
                ready = check_out(parameters.source, context, return_state=True).is_completed()
            if ready and parameters.needs_cluster:
                create_cluster(parameters, context, return_state=True)
            for name in parameters.due if ready else ():
                run_stage(name, context, parameters)
            interrupted = stop.is_set()
        finally:
            if not parameters.keep:
                give_back_all(context, return_state=True)
            clean_up(context, keep=parameters.keep)
            report = write_report(parameters)
    comparison = archive_report(parameters, report)
    uploaded = stored_at_last(parameters, get_run_logger()) if stop.is_set() else upload_report(parameters)
    show_report(report, parameters, uploaded.address if uploaded else "", comparison)
    link = uploaded.public_url if uploaded else ""
    if not stop.is_set():
        notify_run(parameters, report, comparison, link, return_state=True)
    report_run(parameters, report, comparison, link, hurried=stop.is_set(), return_state=True)
    return cut_short(report) if interrupted else final_state(report)


def final_state(report: Report) -> State[Report]:
    """Say the verdict the way Prefect shows it: only what passed is Completed."""
    if report.verdict is Outcome.PASSED:
        return Completed(message=report.verdict_line())
    return Failed(name=report.verdict.name.capitalize(), message=report.verdict_line())


def cut_short(report: Report) -> State[Report]:
    """Say how a run ended that was interrupted: cancelled through Prefect, or by a signal from elsewhere."""
    line = f"interrupted; {report.verdict_line()}"
    return Cancelled(message=line) if is_being_cancelled() else Crashed(message=line)
