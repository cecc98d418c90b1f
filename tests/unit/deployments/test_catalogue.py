"""The catalogue of deployments, and what serve decides."""

from pathlib import Path

import pytest

from deployments.catalogue import catalogue, job_variables
from deployments.service.mending import Mend, Sighting, decide
from deployments.service.serve import Services, require_safe, surroundings
from deployments.service.supervisor import delay_s, ending
from kvsync.ci.settings import ServeSettings, Settings
from kvsync.errors import ConfigError

DEPLOYMENTS = {deployment.name: deployment for deployment in catalogue(Path("somewhere"), Settings())}


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("commit", ("unit", "integration", "property")),
        ("pull-request", ("unit", "integration", "property", "e2e")),
        ("nightly", ("unit", "integration", "property", "e2e", "benchmark", "load")),
        ("weekly", ("unit", "integration", "property", "e2e", "benchmark", "load", "chaos", "soak")),
        ("adhoc", ("unit", "integration", "property")),
    ],
)
def test_a_deployment_runs_its_stages(name: str, stages: tuple[str, ...]) -> None:
    """Each runs what the one before it runs, and more."""
    assert DEPLOYMENTS[name].parameters.stages == stages


def test_what_starts_a_deployment() -> None:
    """Two start by themselves; each run says what started it."""
    started = {name: (each.cron, each.parameters.trigger) for name, each in DEPLOYMENTS.items()}

    assert started == {
        "commit": ("", "push"),
        "pull-request": ("", "pull-request"),
        "nightly": ("0 3 * * *", "schedule"),
        "weekly": ("0 2 * * 1", "schedule"),
        "adhoc": ("", "manual"),
    }


def test_nothing_accepted_is_dropped() -> None:
    """Runs wait in line; only a weekly run that is due while one still goes on is dropped."""
    lines = {name: (each.limit, each.collision) for name, each in DEPLOYMENTS.items()}

    assert lines == {
        "commit": (2, "ENQUEUE"),
        "pull-request": (2, "ENQUEUE"),
        "nightly": (1, "ENQUEUE"),
        "weekly": (1, "CANCEL_NEW"),
        "adhoc": (4, "ENQUEUE"),
    }


def test_reports_lie_where_they_were_asked_for() -> None:
    """A worker has another working directory, so that the folder is absolute."""
    assert {each.parameters.report_dir for each in DEPLOYMENTS.values()} == {Path.cwd() / "somewhere"}


def test_scheduled_runs_test_on_the_chosen_cluster_only() -> None:
    """Real durations and the chosen cluster at night; quick and local when somebody waits."""
    chosen = catalogue(Path("r"), Settings(serve=ServeSettings(cluster="kind", pool="big")))

    assert {each.name: (each.parameters.profile, each.parameters.cluster) for each in chosen} == {
        "commit": ("quick", "local"),
        "pull-request": ("quick", "local"),
        "nightly": ("full", "kind"),
        "weekly": ("full", "kind"),
        "adhoc": ("quick", "local"),
    }
    assert {each.pool for each in chosen} == {"big"}


def test_only_containers_have_an_image() -> None:
    """A pool of processes would refuse to start from one; a container has a home where it may write."""
    env = {"PYTHONPATH": "/app", "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}

    assert job_variables("", Path("/data/reports"), Path("/app")) == {"env": env}
    assert job_variables("pipeline:1", Path("/data/reports"), Path("/app")) == {
        "env": env | {"PREFECT_HOME": "/data/reports/.prefect"},
        "image": "pipeline:1",
    }


@pytest.mark.parametrize(("image", "names"), [("", ["worker", "caretaker"]), ("pipeline:1", ["caretaker"])])
def test_containers_are_started_by_a_worker_elsewhere(image: str, names: list[str]) -> None:
    """Prefect lets a worker of processes take runs from a pool of containers, so there is none."""
    services = Services(Path("r"), Settings(serve=ServeSettings(image=image)), {"PREFECT_HOME": "/h"})

    assert [each.name for each in services.others()] == names


def sighting(state: str, worker: str = "me", *, started: bool = True, missing_s: float = 61) -> Sighting:
    """A flow run that has been without a process for a minute."""
    return Sighting(state=state, worker=worker, started=started, missing_s=missing_s)


@pytest.mark.parametrize(
    ("seen", "mend"),
    [
        pytest.param(sighting("RUNNING"), "crash", id="it was killed"),
        pytest.param(sighting("CANCELLING"), "cancel", id="it was cancelled and then killed"),
        pytest.param(sighting("PENDING", started=False), "reschedule", id="it never began"),
        pytest.param(sighting("PENDING"), "crash", id="it was to be tried again"),
        pytest.param(sighting("PENDING", "", started=False), "reschedule", id="nobody signed it"),
        pytest.param(sighting("RUNNING", missing_s=59), None, id="another may be mending it"),
        pytest.param(sighting("RUNNING", "other"), None, id="it is on another machine"),
        pytest.param(sighting("PENDING", "other", started=False), None, id="another worker starts it"),
        pytest.param(sighting("RUNNING", ""), None, id="it was started by hand"),
    ],
)
def test_how_a_run_without_a_process_ends(seen: Sighting, mend: Mend | None) -> None:
    """What ran has crashed, what was cancelled is cancelled, what never began begins anew."""
    assert decide(seen, worker="me") == mend


def test_a_service_that_keeps_dying_is_started_ever_later() -> None:
    """At once the first time, half a minute apart in the end."""
    assert [delay_s(deaths) for deaths in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("status", "words"), [(2, "exit code 2"), (-9, "SIGKILL")])
def test_an_ending_is_named(status: int, words: str) -> None:
    """A signal is said by its name."""
    assert ending(status) == words


def test_an_own_server_is_where_all_look_for_it() -> None:
    """Its database is in the report folder, a browser finds it, and only the receiver knows its secret."""
    given = {"PATH": "/bin", "KVSYNC_CI_WEBHOOK_SECRET": "s3cret", "PREFECT_API_AUTH_STRING": "a:b"}
    env = surroundings(Path("/r"), ServeSettings(host="0.0.0.0", port=1234), given)  # noqa: S104

    assert env["PREFECT_HOME"] == "/r/.prefect"
    assert env["PREFECT_API_URL"] == "http://127.0.0.1:1234/api"
    assert env["PREFECT_UI_URL"] == "http://127.0.0.1:1234"
    assert env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"
    assert env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert env["PREFECT_API_AUTH_STRING"] == "a:b"
    assert "s3cret" not in env.values()


def test_a_server_that_is_there_is_used() -> None:
    """Its address is left alone, and nothing is said of a UI."""
    env = surroundings(Path("/r"), ServeSettings(), {"PREFECT_API_URL": "http://there:4200/api"})

    assert env["PREFECT_API_URL"] == "http://there:4200/api"
    assert "PREFECT_UI_URL" not in env


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_password(host: str) -> None:
    """Only this machine reaches it."""
    require_safe(ServeSettings(host=host), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "ci.example.com"])  # noqa: S104
def test_an_address_that_others_reach_needs_a_password(host: str) -> None:
    """Whoever reaches the server can run commands."""
    with pytest.raises(ConfigError, match="PREFECT_API_AUTH_STRING"):
        require_safe(ServeSettings(host=host), {})

    require_safe(ServeSettings(host=host), {"PREFECT_API_AUTH_STRING": "user:password"})
