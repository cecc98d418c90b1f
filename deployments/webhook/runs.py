"""Creates and cancels flow runs through Prefect's API."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling
from pydantic import JsonValue

from deployments.webhook.refusal import NotNow, RunRefused
from kvsync.ci.run.repetition import stages_lately

FLOW = "pipeline"
LIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
INVALID = (400, 409, 422)
"""What Prefect answers to parameters that the flow does not accept."""
MAX_DETAIL = 300

RunFields = dict[str, JsonValue]


async def create(
    client: PrefectClient,
    deployment: str,
    build: Callable[[Mapping[str, JsonValue]], RunFields],
    *,
    key: str,
    tags: Sequence[str],
) -> FlowRun:
    """Create the flow run with this key, or return the existing one.

    `build` makes its parameters from those of the deployment. Raises NotNow and RunRefused.
    """
    with _mapped(f"deployment {FLOW}/{deployment}"):
        found = await client.read_deployment_by_name(f"{FLOW}/{deployment}")
        parameters = build((found.parameters or {}).get("parameters") or {})
        return await client.create_flow_run_from_deployment(
            found.id, parameters={"parameters": parameters}, idempotency_key=key, tags=tags
        )


async def stages_of(client: PrefectClient, deployment: str, repository: str) -> list[str]:
    """Return the stages that a deployment names, or else those of its newest run of a repository.

    Raises NotNow and RunRefused.
    """
    with _mapped(f"deployment {FLOW}/{deployment}"):
        found = await client.read_deployment_by_name(f"{FLOW}/{deployment}")
    match found.parameters:
        case {"parameters": {"stages": [_, *_] as stages}}:
            return [str(stage) for stage in stages]
        case {"parameters": {"report_dir": str(report_dir), "trigger": str(trigger)}}:
            return await asyncio.to_thread(stages_lately, Path(report_dir), repository, trigger)
    return []


async def cancel(client: PrefectClient, tag: str, chosen: Callable[[FlowRun], bool], *, message: str) -> int:
    """Cancel the chosen flow runs among those with this tag that have not ended; returns how many.

    Prefect turns Cancelling into Cancelled at once if nothing has been started yet. Raises NotNow.
    """
    with _mapped(f"flow runs of {tag}"):
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(all_=[tag]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=LIVE)),
            )
        )
        cancelled = [run for run in runs if chosen(run)]
        for run in cancelled:
            await client.set_flow_run_state(run.id, Cancelling(message=message))
        return len(cancelled)


def commit_of(run: FlowRun) -> str:
    """Return the commit that a flow run tests, or "" if it does not name one."""
    match run.parameters:
        case {"parameters": {"source": {"commit": str(commit)}}}:
            return commit
    return ""


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Turn the client's exceptions into ours; their texts may contain the API's URL with a password."""
    try:
        yield
    except ObjectNotFound as exc:
        raise NotNow("deployment", f"{what} does not exist; `kvsync-ci deploy` makes it") from exc
    except PrefectHTTPStatusError as exc:
        status = exc.response.status_code
        if status in INVALID:
            raise RunRefused(f"{what}: Prefect answered {status}: {exc.response.text[:MAX_DETAIL]}") from exc
        raise NotNow("prefect", f"{what}: Prefect answered {status}") from exc
    except httpx.HTTPError as exc:
        raise NotNow("prefect", f"{what}: {type(exc).__name__}") from exc
