"""What `kvsync-ci deploy` changes on a Prefect server, and what it leaves to people."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from prefect.client.base import PrefectHttpxSyncClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.catalogue import catalogue
from deployments.deploy import deploy
from kvsync.ci.run.run import Installation
from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.timeout(180)

SEVEN, NOON = {"cron": "0 7 * * *", "timezone": "UTC"}, {"cron": "0 12 * * *", "timezone": "UTC"}


@pytest.fixture
def api(server: str) -> Iterator[httpx.Client]:
    """The server's API, through which the UI changes things; neither before nor after there is a deployment.

    It is asked again while its SQLite is busy. Other tests have the same server.
    """
    with PrefectHttpxSyncClient(base_url=server, timeout=20, raise_on_all_errors=False) as client:
        _remove_all(client)
        yield client
        _remove_all(client)


def _remove_all(client: httpx.Client) -> None:
    for each in client.post("/deployments/filter", json={}).json():
        client.delete(f"/deployments/{each['id']}").raise_for_status()


def _fates(pipeline: Pipeline, **variables: str) -> Mapping[str, str]:
    """Deploy; returns what became of each deployment. The command that does this is tested with `serve`."""
    settings = Installation.of({**pipeline.env, **variables}).settings
    with temporary_settings({PREFECT_API_URL: pipeline.env["PREFECT_API_URL"]}):
        return deploy(catalogue(pipeline.reports, settings))


def _reader(api: httpx.Client) -> Callable[[], dict[str, Any]]:
    def nightly() -> dict[str, Any]:
        """Return it as the server holds it."""
        found: dict[str, Any] = api.get("/deployments/name/pipeline/nightly").raise_for_status().json()
        return found

    return nightly


def _times(deployment: Mapping[str, Any]) -> list[str]:
    return sorted(each["schedule"]["cron"] for each in deployment["schedules"])


def test_what_a_person_changed_holds_until_the_catalogue_changes(
    pipeline: Pipeline, api: httpx.Client
) -> None:
    """Schedules and parameters of the UI stay; other settings set them anew, and what is paused stays so."""
    nightly = _reader(api)
    assert set(_fates(pipeline).values()) == {"created"}
    first = nightly()
    url = f"/deployments/{first['id']}"
    parameters = {"parameters": {**first["parameters"]["parameters"], "seed": 7}}
    schedule = f"{url}/schedules/{first['schedules'][0]['id']}"
    api.patch(schedule, json={"schedule": SEVEN}).raise_for_status()
    api.post(f"{url}/schedules", json=[{"active": True, "schedule": NOON}]).raise_for_status()
    api.patch(url, json={"parameters": parameters}).raise_for_status()

    assert set(_fates(pipeline).values()) == {"unchanged"}
    changed = nightly()
    assert (_times(changed), changed["parameters"]) == (["0 12 * * *", "0 7 * * *"], parameters)

    api.patch(schedule, json={"active": False}).raise_for_status()
    api.post(f"{url}/pause_deployment").raise_for_status()
    fates = _fates(pipeline, KVSYNC_CI_SERVE_CLUSTER="kind")
    assert {name for name, fate in fates.items() if fate == "updated"} == {"nightly", "weekly"}
    anew = nightly()
    assert (_times(anew), anew["parameters"]["parameters"]["seed"]) == (["0 3 * * *"], 0)
    assert anew["parameters"]["parameters"]["cluster"] == "kind"
    assert (anew["paused"], anew["schedules"][0]["active"]) == (True, False)


def test_a_deployment_whose_pool_is_gone_gets_one(pipeline: Pipeline, api: httpx.Client) -> None:
    """Without it no worker would ever take its runs."""
    _fates(pipeline, KVSYNC_CI_SERVE_POOL="passing")
    api.delete("/work_pools/passing").raise_for_status()

    assert set(_fates(pipeline, KVSYNC_CI_SERVE_POOL="passing").values()) == {"updated"}
    assert _reader(api)()["work_pool_name"] == "passing"


def test_the_server_refuses_an_address_with_a_password(pipeline: Pipeline, api: httpx.Client) -> None:
    """It is not even kept; what is fit becomes a run with the parameters of the deployment beside it."""
    _fates(pipeline)
    nightly = _reader(api)()
    source = {"url": "https://github.com/owner/name", "commit": "a" * 40}

    def create(**source: str) -> httpx.Response:
        parameters = {"parameters": {**nightly["parameters"]["parameters"], "source": source}}
        return api.post(f"/deployments/{nightly['id']}/create_flow_run", json={"parameters": parameters})

    assert create(**source).status_code == httpx.codes.CREATED
    assert create(**{**source, "url": "https://u:s3cret@host/name"}).status_code == httpx.codes.CONFLICT
