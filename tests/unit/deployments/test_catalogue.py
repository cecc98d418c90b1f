"""The catalogue of deployments."""

from pathlib import Path

from deployments.catalogue import catalogue, job_variables
from kvsync.ci.settings import RepositorySettings, ServeSettings, Settings

DEPLOYMENTS = {deployment.name: deployment for deployment in catalogue(Path("somewhere"), Settings())}


def test_which_stages_run_is_up_to_the_tested_repository() -> None:
    """No deployment names one; the schedules say which they are."""
    assert {(each.parameters.stages, each.parameters.schedule) for each in DEPLOYMENTS.values()} == {
        ((), None),
        ((), "nightly"),
        ((), "weekly"),
    }


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
    """A pool of processes would refuse to start from one; a container has a home where it may write.

    A process is concealed from its beginning.
    """
    env = {"PYTHONPATH": "/app", "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}

    process = job_variables("", Path("/data/reports"), Path("/app"))
    assert process["env"] == env
    assert str(process["command"]).endswith("/kvsync/ci/concealment.py - prefect.engine")
    assert job_variables("pipeline:1", Path("/data/reports"), Path("/app")) == {
        "env": env | {"PREFECT_HOME": "/data/reports/.prefect", "KVSYNC_CI_BOX_KIND": "container"},
        "image": "pipeline:1",
    }


def test_each_configured_repository_has_deployments_of_its_own() -> None:
    """By its name, with its schedules; what is never to be started is not there."""
    shop = RepositorySettings(url="https://git.example.org/shop.git", branch="trunk", follow="*/5 * * * *")
    other = RepositorySettings(url="/srv/other.git", nightly="30 1 * * *", weekly="")
    chosen = catalogue(Path("r"), Settings(repositories={"shop": shop, "other": other}))

    added = {each.name: each for each in chosen if each.name not in DEPLOYMENTS}
    assert {name: (each.cron, each.parameters.follows) for name, each in added.items()} == {
        "nightly-shop": ("0 3 * * *", "shop"),
        "weekly-shop": ("0 2 * * 1", "shop"),
        "follow-shop": ("*/5 * * * *", "shop"),
        "nightly-other": ("30 1 * * *", "other"),
    }
    kinds = {name: (each.parameters.trigger, each.parameters.schedule) for name, each in added.items()}
    assert kinds["follow-shop"] == ("push", None)
    assert kinds["weekly-shop"] == ("schedule", "weekly")
    assert "trunk of https://git.example.org/shop.git" in added["follow-shop"].description
