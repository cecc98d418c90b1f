"""Which run a flow run is: hooks and guardians find its folder by the flow run alone."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as running

from kvsync.ci.run.parameters import Parameters, new_run_id


def parameters_of(flow_run: FlowRun) -> Parameters:
    """Return the parameters that a flow run of the pipeline has, its run named.

    Raises pydantic's ValidationError for parameters that the pipeline refuses.
    """
    given = Parameters.model_validate(flow_run.parameters.get("parameters", {}))
    return given.named(run_id(flow_run))


def run_id(flow_run: FlowRun) -> str:
    """Return the run's id where the parameters have none: of the flow run's creation and its own id."""
    return new_run_id(flow_run.created, str(flow_run.id))


def current_run_id() -> str:
    """Return the id for the run of the flow that is running now."""
    context = FlowRunContext.get()
    return run_id(context.flow_run) if context and context.flow_run else new_run_id()


def current_flow_run() -> UUID:
    """Return the id of the flow run that is going on now; also within its tasks."""
    return UUID(running.get_id())


def is_being_cancelled() -> bool:
    """Say whether Prefect was asked to cancel the flow that is running now; httpx.HTTPError if it is away."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(current_flow_run()).state
    return bool(state and state.type in (StateType.CANCELLING, StateType.CANCELLED))
