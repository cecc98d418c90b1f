"""Makes a Prefect server's deployments those of the catalogue.

- A deployment's version on the server is a digest of what was posted. While that is what would be posted
  now, nothing is posted: what a person changed in the UI meanwhile stays.
- When catalogue or settings changed, they decide everything but one thing: what was paused stays paused.
- Only deployments of our flow that bear our tag are removed; others are somebody else's.
- Prefect is found by PREFECT_API_URL, and its password by PREFECT_API_AUTH_STRING, both read by Prefect.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker
from pydantic_core import to_json

from deployments.catalogue import ENTRYPOINT, FLOW, TAG, Deployment, job_variables, pull_steps
from flows.pipeline import run_pipeline
from kvsync.ci.errors import CannotRun

Fate = Literal["created", "updated", "unchanged", "removed"]

ANSWER_S = 5.0
"""How long a server may take to say that it is there."""


def deploy(deployments: Sequence[Deployment]) -> dict[str, Fate]:
    """Apply the catalogue and return what became of each deployment.

    Raises CannotRun, with the mend, when there is no server, it does not answer or refuses us.
    """
    _require_server(get_current_settings().api.url)
    try:
        with get_client(sync_client=True) as client:
            return _apply_all(client, deployments)
    except PrefectHTTPStatusError as exc:
        raise CannotRun("deploy", [_refusal(exc)]) from exc
    except httpx.TransportError as exc:
        raise CannotRun("deploy", [f"the Prefect server went away ({exc!r}); try again"]) from exc


def _require_server(url: str | None) -> None:
    mend = "start one with `kvsync-ci serve`, or set PREFECT_API_URL to the address of one (http://HOST:4200/api)"
    if not url:
        raise CannotRun("deploy", [f"no Prefect server is configured; {mend}"])
    try:
        httpx.get(f"{url}/health", timeout=ANSWER_S).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise CannotRun("deploy", [f"no Prefect server answers at {url} ({exc}); {mend}"]) from exc


def _refusal(exc: PrefectHTTPStatusError) -> str:
    if exc.response.status_code in (401, 403):
        return (
            "the Prefect server wants a password; set PREFECT_API_AUTH_STRING to what the server was given, "
            "or --report-dir to the folder in which `kvsync-ci serve` keeps it"
        )
    return f"the Prefect server refused {exc.request.method} {exc.request.url}: {exc.response.text}"


def _apply_all(client: SyncPrefectClient, deployments: Sequence[Deployment]) -> dict[str, Fate]:
    for pool, image in {(deployment.pool, deployment.image) for deployment in deployments}:
        _ensure_pool(client, pool, image)
    ours = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    found = {each.name: each for each in ours}
    fates = {each.name: _apply(client, each, found.get(each.name)) for each in deployments}
    for name in found.keys() - fates.keys():
        if TAG in found[name].tags:
            client.delete_deployment(found[name].id)
            fates[name] = "removed"
    return fates


def _ensure_pool(client: SyncPrefectClient, pool: str, image: str) -> None:
    """Make the pool of processes if it is not there; one of containers is made by its own worker."""
    try:
        client.read_work_pool(pool)
    except ObjectNotFound as exc:
        if image:
            mend = f"start its worker first: prefect worker start --pool {pool} --type docker (or kubernetes)"
            raise CannotRun("deploy", [f"there is no work pool {pool} for runs in {image}; {mend}"]) from exc
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))


def _apply(client: SyncPrefectClient, wanted: Deployment, found: DeploymentResponse | None) -> Fate:
    payload = _payload(wanted)
    # The pool is compared as well: if the old one is deleted, no worker would ever take a run.
    if found and (found.version, found.work_pool_name) == (payload["version"], wanted.pool):
        return "unchanged"
    if found:
        paused = {schedule.slug for schedule in found.schedules if not schedule.active}
        payload["schedules"] = [
            each.model_copy(update={"active": each.slug not in paused}) for each in payload["schedules"]
        ]
    client.create_deployment(flow_id=client.create_flow_from_name(FLOW), name=wanted.name, **payload)
    return "updated" if found else "created"


def _payload(wanted: Deployment) -> dict[str, Any]:
    """Return what is posted, by the names of the client's arguments."""
    schedule = DeploymentScheduleCreate(
        schedule=CronSchedule(cron=wanted.cron or "0 0 * * *", timezone="UTC"), slug=wanted.name
    )
    payload = {
        "description": wanted.description,
        "entrypoint": ENTRYPOINT,
        "parameters": {"parameters": wanted.parameters.model_dump(mode="json")},
        "parameter_openapi_schema": parameter_schema(run_pipeline).model_dump(
            exclude_unset=True, mode="json"
        ),
        "enforce_parameter_schema": True,
        "tags": wanted.tags,
        "work_pool_name": wanted.pool,
        "job_variables": job_variables(wanted.image, wanted.parameters.report_dir),
        "pull_steps": pull_steps(),
        "schedules": [schedule] if wanted.cron else [],
        "concurrency_limit": wanted.limit,
        "concurrency_options": ConcurrencyOptions.model_validate({"collision_strategy": wanted.collision}),
    }
    return {**payload, "version": hashlib.sha256(to_json(payload)).hexdigest()[:12]}
