"""Services as pods of the Kind cluster of KVSYNC_CI_TEST_KUBECONFIG: the same verdicts, and nothing left."""

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kvsync.ci.chaos.processes import Down, Ended, Paused, ProcessAsked
from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.provision.cluster_stage import give_back
from kvsync.ci.provision.services_namespace import with_services
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.services.redis import ask, redis
from kvsync.ci.services.service import NotReady, PodPlace, Surroundings
from kvsync.ci.settings import ServiceSettings
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.holding import Injection
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Outcome
from kvsync.testing.results.verdicts import NotRun
from tests.integration.ci.services.images import settings_of
from tests.integration.ci.services.test_same_verdict import VERDICT, verdict

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WITHIN_S = 90.0
"""A busy machine takes its time to start a pod."""


@pytest.fixture(scope="module")
def cluster(test_kubeconfig: Path) -> Machine:
    """The cluster, as a run has it."""
    context = yaml.safe_load(test_kubeconfig.read_text())["current-context"]
    if not context.startswith("kind-"):
        pytest.skip("images of this machine are loaded on the nodes of Kind clusters alone")
    kind = context.removeprefix("kind-")
    return Machine(kubeconfig=str(test_kubeconfig), context=context, image="", manifests="", kind=kind)


@pytest.fixture(scope="module")
def loaded(cluster: Machine, images: dict[str, str]) -> ServiceSettings:
    """The settings of images that are on its nodes."""
    for image in images.values():
        argv = ["kind", "load", "docker-image", image, f"--name={cluster.kind}"]
        subprocess.run(argv, check=True, capture_output=True, timeout=250)
    return settings_of(images)


@pytest.fixture(scope="module")
def run(cluster: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A run with a namespace for services, of which nothing is left."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / f"run-{secrets.token_hex(3)}")
    ledger = Ledger(folder.ledger)
    with_services(cluster, ledger).write(folder.machine)
    yield folder
    give_back(ledger)
    assert leftovers([folder.ledger]) == []


def surroundings(run: RunFolder, settings: ServiceSettings) -> Surroundings:
    """Return those of a stage of the run."""
    return Surroundings(
        repository=run.path,
        logs=run.logs,
        ledger=Ledger(run.ledger),
        stop=threading.Event(),
        settings=settings,
        pods=PodPlace(Machine.read(run.machine), "it"),
    )


def pods(run: RunFolder) -> list[str]:
    """Return the pods of the run's services."""
    machine = Machine.read(run.machine)
    return [each.name for each in KubernetesApi(machine).pods(machine.services, "kvsync.dev/stage=it")]


def test_the_same_tests_have_the_same_verdict_in_pods(
    run: RunFolder, loaded: ServiceSettings, tmp_path: Path
) -> None:
    """Three real servers, of images that containers have, too; their logs stay, and the report says where."""
    result = verdict(tmp_path, loaded, Ledger(run.ledger))
    namespace = Machine.read(run.machine).services

    assert [(check.name, check.kind) for check in result.checks] == VERDICT, result.reason
    assert result.outcome is Outcome.FAILED
    said = [f"pod {namespace}/{name}, image kvsync-test-" in " ".join(result.remarks) for name in NAMES]
    assert said == [True, True, True]
    logs = {name: (run.logs / "services" / "it" / f"{name}.log").read_text() for name in NAMES}
    assert "ready to accept connections" in logs["data"]
    assert all(logs.values())
    assert pods(run) == []


NAMES = ("data", "cache", "objects")


def test_an_image_that_no_node_can_pull_is_not_run_with_its_mend(run: RunFolder) -> None:
    """At once, in Kubernetes' words."""
    around = surroundings(run, ServiceSettings(redis_image="registry.invalid/none:1"))

    with pytest.raises(NotReady) as raised, redis("none", around, WITHIN_S):
        pass

    assert str(raised.value).startswith("service 'none' cannot be started: pod ")
    assert "its image registry.invalid/none:1 cannot be pulled on node " in str(raised.value)
    assert "name one in [services] of kvsync-ci.toml" in str(raised.value)
    assert pods(run) == []


def test_a_program_that_ends_is_told_with_its_exit_status(run: RunFolder, loaded: ServiceSettings) -> None:
    """PostgreSQL's image without what it has to be told; what it wrote is in the log."""
    around = surroundings(run, replace_image(loaded.postgres_image))

    with pytest.raises(NotReady) as raised, redis("wrong", around, WITHIN_S):
        pass

    assert "service 'wrong' ended by itself after" in str(raised.value)
    assert "its program ended with exit code " in str(raised.value)
    assert "POSTGRES_PASSWORD" in raised.value.tail


def replace_image(image: str) -> ServiceSettings:
    """Return settings by which Redis is of an image that it is not."""
    return ServiceSettings(redis_image=image)


def proved(fault: Injection, *, acting: bool) -> str:
    """Wait until a fault shows, or is gone; returns what was measured."""
    return wait_for(
        lambda: effect.evidence if (effect := fault.measure()).present is acting else "",
        what="the fault shows" if acting else "the fault is gone",
        timeout_s=WITHIN_S,
        interval_s=0.2,
    )


def test_a_pod_that_is_killed_comes_back_empty(run: RunFolder, loaded: ServiceSettings) -> None:
    """Also one that was down for a while; that it cannot be stopped where it is, is told."""
    with redis("cache", surroundings(run, loaded), WITHIN_S) as service:
        url = service.fields["url"]
        ask(url, ("SET", "a", "b"))
        asked = ProcessAsked("cache", service)
        for fault in (Ended(asked, is_asked=False), Down(asked)):
            fault.inject()
            proved(fault, acting=True)
            fault.recover()
            proved(fault, acting=False)
        size = ask(url, ("DBSIZE",))
        with pytest.raises(NotRun, match=r"cache is pod .*, whose processes cannot be stopped from here"):
            Paused(asked)

    assert size == "0"
    assert service.why_ended() == ""
    assert pods(run) == []


RUN = """
import sys, time
from tests.integration.ci.services.test_pods import *
folder = RunFolder(Path(sys.argv[1]))
with_services(Machine.read(Path(sys.argv[2])), Ledger(folder.ledger)).write(folder.machine)
with redis("cache", surroundings(folder, ServiceSettings(redis_image=sys.argv[3])), WITHIN_S):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_of_a_run_that_was_killed_nothing_is_left_after_cleaning(
    cluster: Machine, loaded: ServiceSettings, tmp_path: Path
) -> None:
    """Neither its process here, nor its namespace there."""
    folder = RunFolder(tmp_path / f"run-{secrets.token_hex(3)}")
    cluster.write(tmp_path / "machine.json")
    argv = [sys.executable, "-c", RUN, str(folder.path), str(tmp_path / "machine.json"), loaded.redis_image]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        killed.send_signal(signal.SIGKILL)

    ledger, machine = Ledger(folder.ledger), Machine.read(folder.machine)
    found = find(folder.ledger, marked=[])

    assert {entry.kind for entry in found.entries} == {"process", "namespace"}
    assert set(clear(found, ledger).values()) == {""}
    assert not find(folder.ledger, marked=[])
    assert machine.services not in KubernetesApi(machine).namespaces("")
