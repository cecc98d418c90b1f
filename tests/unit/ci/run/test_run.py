"""A run with the stages that the tested repository has for it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.project.reading import parse_project, read_project
from kvsync.ci.run.parameters import REPOSITORY, CommitSource, Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import ServiceSettings, Settings, StageSettings
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.served import ServedStage
from kvsync.testing.results.outcome import Check, CheckKind, merge

OURS = read_project(REPOSITORY)
AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cluster", "stages", "needed"),
    [
        ("local", ("e2e", "chaos"), False),
        ("kind", ("unit", "benchmark"), False),
        ("kind", ("unit", "chaos"), True),
        ("kubeconfig:prod", ("e2e",), True),
    ],
)
def test_a_cluster_is_made_only_for_stages_that_use_it(
    cluster: str, stages: tuple[str, ...], needed: bool
) -> None:
    """Unit tests do not wait for Kubernetes."""
    asked = Parameters.checked(cluster=cluster, stages=stages)

    assert Run(asked, Installation(Settings())).of_project(OURS).needs_cluster is needed


@pytest.mark.parametrize(("stages", "needed"), [("e2e", True), ("unit", False), ("pods", False)])
def test_an_image_is_needed_only_for_engines(stages: str, needed: bool) -> None:
    """Faults act on pods that are there already: the project that has them may have no image to build."""
    pods = parse_project(
        '[stages.pods]\nkind = "chaos"\nsteady = {probe = "http://x"}\n[stages.pods.faults.killed]\n'
        'on = {selector = "app=api"}\nkind = "kill"\n'
    )
    asked = Parameters.checked(cluster="kind", stages=(stages,))
    run = Run(asked, Installation(Settings())).of_project(pods if stages == "pods" else OURS)

    assert run.needs_image is needed
    assert run.needs_cluster is (stages != "unit")


SERVED = parse_project(
    '[services.data]\nkind = "postgres"\n[services.more]\nkind = "redis"\n'
    '[stages.it]\nkind = "command"\ncommand = ["x"]\nneeds = ["data", "more"]\n'
    '[stages.lint]\nkind = "command"\ncommand = ["x"]\n'
)

IMAGES = {"postgres_image": "postgres:18", "redis_image": "valkey:9", "s3_image": "weed:4"}
AN_ADDRESS = {"postgres": "postgresql://me@db"}


@pytest.mark.parametrize(
    ("cluster", "stages", "given", "images"),
    [
        ("kind", ("it",), IMAGES, ("postgres:18", "valkey:9")),
        ("kubeconfig", ("it", "lint"), IMAGES | AN_ADDRESS, ("valkey:9",)),
        ("kind", ("lint",), IMAGES, ()),
        ("kind", ("it",), {}, ()),
        ("local", ("it",), IMAGES, ()),
    ],
    ids=["images", "address first", "no service", "no image", "no cluster"],
)
def test_services_of_an_image_are_pods_of_the_runs_cluster(
    cluster: str,
    stages: tuple[str, ...],
    given: dict[str, str],
    images: tuple[str, ...],
) -> None:
    """For which it is made, without the image of engines; an owner's address comes first."""
    settings = Settings(services=ServiceSettings.model_validate(given))
    asked = Parameters.checked(cluster=cluster, stages=stages)
    run = Run(asked, Installation(settings)).of_project(SERVED)

    assert run.pod_images == images
    assert run.needs_cluster is bool(images)
    assert not run.needs_image
    stage = run.stage(stages[0])
    assert not isinstance(stage, ServedStage) or stage.in_pods is (cluster != "local")


def test_a_stage_takes_no_longer_than_the_owner_allows() -> None:
    """Whatever the tested commit says."""
    project = parse_project('[stages.a]\nkind = "command"\ncommand = ["x"]\ntimeout = "9h"\n')
    settings = Settings(stages=StageSettings(longest_s=60))
    stage = Run(Parameters(), Installation(settings)).of_project(project).stage("a")

    assert isinstance(stage, CommandStage)
    assert stage.timeout_s == 60


@pytest.mark.parametrize(
    ("kind", "unmet"), [("passed", False), ("failed", True), ("void", True), (None, True)]
)
def test_a_stage_is_not_run_without_what_it_needs(
    tmp_path: Path, kind: CheckKind | None, unmet: bool
) -> None:
    """A stage that was not decided is nothing to build on either."""
    project = parse_project(
        '[stages.a]\nkind = "command"\ncommand = ["x"]\n'
        '[stages.b]\nkind = "command"\ncommand = ["x"]\nneeds = "a"\n'
    )
    run = Run(Parameters(run="r", report_dir=tmp_path), Installation(Settings())).of_project(project)
    if kind:
        run.folder.save(merge("a", [Check(name="t", kind=kind)], started_at=AT))

    assert (run.unmet("b"), run.unmet("a")) == (
        "not run: it needs a, which did not pass" if unmet else "",
        "",
    )


def test_an_untrusted_commit_gets_nothing_of_the_owners_servers() -> None:
    """Its tests would get their passwords; a container or a server of this machine's is for all."""
    project = parse_project(
        '[services.d]\nkind = "postgres"\n[stages.a]\nkind = "command"\ncommand = ["x"]\nneeds = "d"\n'
    )
    fork = CommitSource(url="https://host/name", commit="a" * 40, trusted=False)
    given = ServiceSettings.model_validate({"postgres": "postgresql://me:word@host/", "redis_image": "r"})
    ours, theirs = (
        Run(Parameters(source=source), Installation(Settings(services=given))).of_project(project).stage("a")
        for source in (None, fork)
    )

    assert isinstance(ours, ServedStage)
    assert isinstance(theirs, ServedStage)
    assert (ours.settings, theirs.settings) == (given, ServiceSettings(redis_image="r"))


def test_a_run_takes_no_longer_than_the_owner_allows() -> None:
    """A commit may name a hundred stages; those of a fork have less time, and the last one what is left."""
    project = parse_project('[stages.a]\nkind = "command"\ncommand = ["x"]\n')
    fork = CommitSource(url="https://host/name", commit="a" * 40, trusted=False)
    settings = Settings(stages=StageSettings(longest_run_s=900, untrusted_run_s=60))
    ours, theirs = (
        Run(Parameters(source=source), Installation(settings)).of_project(project) for source in (None, fork)
    )
    stage = theirs.stage("a", 12.0)

    assert (ours.longest_s, theirs.longest_s) == (900, 60)
    assert isinstance(stage, CommandStage)
    assert stage.timeout_s == 12
    assert theirs.unmet("a", 0.0) == "not run: the run took the 60 s that the pipeline's owner allows"
