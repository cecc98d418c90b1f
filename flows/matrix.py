"""One run of the pipeline on each version of Kubernetes."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.pipeline import run_pipeline
from tasks.parameters import Parameters, matrix


@flow(name="matrix", flow_run_name="{parameters.run}-matrix")
def run_matrix(parameters: Parameters, node_images: tuple[str, ...]) -> State[None]:
    """Run the pipeline on a Kind cluster of each node image, one after the other; each has its report.

    It is Completed when every run passed. A run that did not stops none of the others.
    """
    states = {each.run: run_pipeline(each, return_state=True) for each in matrix(parameters, node_images)}
    lines = "; ".join(f"{run}: {state.message}" for run, state in states.items())
    if all(state.is_completed() for state in states.values()):
        return Completed(message=lines)
    return Failed(message=lines)
