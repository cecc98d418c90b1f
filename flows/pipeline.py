"""From a trigger to a verdict."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Crashed, Failed

from kvsync.ci.interruption import stop_on_signal
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.testing.results.outcome import Outcome
from tasks.cluster import create_cluster, give_back_all
from tasks.github import announce_stages
from tasks.handover import hand_over_report
from tasks.identity import current_run_id, is_being_cancelled
from tasks.lateness import current_lateness
from tasks.preparation import prepare
from tasks.project import with_stages
from tasks.report import write_report
from tasks.residue import clean_up
from tasks.stages import run_stage
from tasks.start import nothing_new, start_run
from tasks.workspace import check_out, follows_branch, with_head


@flow(name="pipeline", flow_run_name="{parameters.title}")
def run_pipeline(parameters: Parameters) -> State[Report]:
    """Run the stages in order, clean up, write the report and hand it over; the verdict is the final state.

    A failing stage does not stop the others: each is evidence in itself. What was interrupted is
    unknown, never passed, and is reported like the rest; so are the stages whose cluster cannot be made.
    A scheduled run that comes too late is skipped, and so is one that follows a branch that has not moved.
    """
    if why := current_lateness() or nothing_new(parameters):
        return Cancelled(name="Skipped", message=why)
    with stop_on_signal() as stop:
        run, context = start_run(parameters.named(current_run_id()), stop)
        try:
            if follows_branch(run):
                run, context = with_head(run, context)
            announce_stages(run)
            ready = not follows_branch(run)
            if ready and run.parameters.source:
                ready = check_out(run, context, return_state=True).is_completed()
            if ready:
                run, ready = with_stages(run, context)
            if ready and run.preparation:
                ready = prepare(run, context, return_state=True).is_completed()
            if ready and run.needs_cluster:
                create_cluster(run, context, return_state=True)
            for name in run.parameters.due if ready else ():
                run_stage(name, context, run)
            interrupted = stop.is_set()
        finally:
            if not run.parameters.keep:
                give_back_all(context)
            clean_up(context, keep=run.parameters.keep)
            report = write_report(run)
    hand_over_report(run, report, interrupted=stop.is_set())
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
