"""Faults through Chaos Mesh, on a real API server with a double of its controllers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi

from kvsync.ci.cleaning.reapers import reap
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.doubles.chaos_mesh import Behaviour, FakeChaosMesh
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.chaosmesh.experiment import PAUSE, StepLimits
from kvsync.testing.faults.chaosmesh.injector import ChaosMeshInjector
from kvsync.testing.faults.chaosmesh.manifest import GATEWAYS, GROUP, VERSION, Victims, plural
from kvsync.testing.faults.fault import Fault, Latency, MessageLoss, Partition, PodFailure, PodKill
from kvsync.testing.faults.holding import Effect, Episode, Injection, active
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.tools import Tools
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results import history as histories
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun, Unproven, Void

pytestmark = [pytest.mark.kubernetes, pytest.mark.usefixtures("chaos_crds")]

POD, OTHER = "qwen-1", "qwen-2"
PARTITION = Partition(pod=POD)
KINDS = ("NetworkChaos", "PodChaos")


LONG = 50.0
"""Longer than any test may take: what ends by such a limit fails."""
PATIENT = StepLimits(free_s=LONG, select_s=LONG, inject_s=LONG, recover_s=LONG, delete_s=LONG, force_s=LONG)


class World:
    """A namespace with pods, the double, and what is written down about it."""

    def __init__(
        self, client: ApiClient, kubeconfig: Path, namespace: str, mesh: FakeChaosMesh, folder: Path
    ) -> None:
        self.client, self.namespace, self.mesh = client, namespace, mesh
        self.machine = Machine(kubeconfig=str(kubeconfig), context="", image="", manifests="")
        self.ledger = Ledger(folder / "ledger.jsonl", run="run-7")
        self.history = History(folder / "history.jsonl", proc="test")
        self.effect: bool | None = None
        self.acting: list[bool] = []

    def injector(self, limits: StepLimits = PATIENT, peers: Victims | None = None) -> ChaosMeshInjector:
        """Return an injector whose faults have the effect that their pod is a victim."""
        return ChaosMeshInjector(
            client=self.client,
            namespace=self.namespace,
            machine=self.machine,
            ledger=self.ledger,
            history=self.history,
            observe=lambda fault: partial(self.measure, fault),
            peers=peers,
            limits=limits,
        )

    @contextmanager
    def hold(self, fault: Fault, peers: Victims | None = None) -> Iterator[Episode]:
        """Hold a fault; when that is not proved the test fails, and is not just left open."""
        try:
            with active(fault, self.injector(peers=peers), self.history) as episode:
                yield episode
        except Unproven as exc:
            pytest.fail(f"not proved: {exc}")

    def prepare(self, fault: Fault, limits: StepLimits = PATIENT) -> Injection:
        """Prepare a fault, with an injector of its own."""
        return self.injector(limits).prepare(fault)

    def inject(self, fault: Fault, limits: StepLimits = PATIENT) -> Injection:
        """Inject a fault, or fail the test."""
        injection = self.prepare(fault, limits)
        try:
            injection.inject()
        except Unproven as exc:
            pytest.fail(f"not injected: {exc}")
        return injection

    def measure(self, fault: Fault, *, acting: bool) -> Effect:
        """Say what `effect` says, else whether the fault's pod is injected now."""
        self.acting.append(acting)
        injected = f"{self.namespace}/{fault.pod}" in self.mesh.victims
        present = injected if self.effect is None else self.effect
        return Effect(present, "broken" if present else "well")

    def experiments(self) -> list[Manifest]:
        """Return the experiments there are."""
        api = CustomObjectsApi(self.client)
        listed = [
            api.list_namespaced_custom_object(GROUP, VERSION, self.namespace, plural(kind)) for kind in KINDS
        ]
        return [each for one in listed for each in cast("dict[str, Any]", one)["items"]]

    def change(self, resource: Manifest, metadata: Manifest) -> None:
        """Change an experiment behind the injector's back."""
        CustomObjectsApi(self.client).patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            plural(resource["kind"]),
            resource["metadata"]["name"],
            {"metadata": metadata},
        )

    def delete(self, resource: Manifest) -> None:
        """Delete an experiment behind the injector's back."""
        where = (GROUP, VERSION, self.namespace, plural(resource["kind"]), resource["metadata"]["name"])
        CustomObjectsApi(self.client).delete_namespaced_custom_object(*where)

    def noted(self, type_: str) -> list[dict[str, object]]:
        """Return the history's records about experiments."""
        records = histories.read([self.history.path], only={"experiment"})
        return [each for each in records if each["type"] == type_]

    def is_clean(self) -> bool:
        """Say whether nothing is left, neither on the API server nor in the ledger."""
        return not self.experiments() and not leftovers([self.ledger.path])


@contextmanager
def refused(verdict: type[Unproven], said: str) -> Iterator[None]:
    """Expect this verdict; another one would leave the test open instead of failing it."""
    with pytest.raises(Unproven, match=said) as raised:
        yield
    assert type(raised.value) is verdict


@pytest.fixture
def world(
    kubernetes_client: ApiClient, test_kubeconfig: Path, kubernetes_namespace: str, tmp_path: Path
) -> Iterator[World]:
    """Two engines and a gateway that no node runs, and controllers that are well."""
    core = CoreV1Api(kubernetes_client)
    for name, app in ((POD, "engine"), (OTHER, "engine"), ("gateway-1", "gateway")):
        body = {
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {
                "automountServiceAccountToken": False,
                "schedulerName": "nobody",
                "containers": [{"name": app, "image": app}],
            },
        }
        core.create_namespaced_pod(kubernetes_namespace, cast("Any", body))
    with FakeChaosMesh(kubernetes_client, kubernetes_namespace, KINDS) as mesh:
        yield World(kubernetes_client, test_kubeconfig, kubernetes_namespace, mesh, tmp_path)


def test_a_fault_is_held_and_taken_back(world: World) -> None:
    """Records and effect prove it, the ledger knows of it meanwhile, and nothing is left of it."""
    with world.hold(PARTITION) as episode:
        (resource,) = world.experiments()
        (entry,) = leftovers([world.ledger.path])

    name = resource["metadata"]["name"]
    assert resource["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kvsync-ci",
        "kvsync.dev/run": "run-7",
        "kvsync.dev/pod": POD,
    }
    assert resource["spec"]["selector"] == {"pods": {world.namespace: [POD]}}
    assert (entry.kind, entry.name, entry.run) == ("custom-resource", name, "run-7")
    assert entry.facts == {
        "kubeconfig": world.machine.kubeconfig,
        "context": "",
        "kind_cluster": "",
        "group": "chaos-mesh.org",
        "version": "v1alpha1",
        "plural": "networkchaos",
        "namespace": world.namespace,
    }
    assert episode.proof.startswith(f"broken; {name} was injected at ")
    assert episode.absence.startswith(f"well; {name} acted from ")
    assert world.is_clean()
    (started,), (stopped,) = world.noted("start"), world.noted("stop")
    assert started["injected_at"] == stopped["injected_at"] is not None
    assert stopped["recovered_at"] is not None
    assert started["acted_s"] is None
    assert isinstance(stopped["acted_s"], float)
    assert stopped["forced"] is False


def test_the_other_end_is_a_target(world: World) -> None:
    """What acts both ways between the pod and its peers is injected at these, too."""
    with world.hold(Latency(pod=POD, delay_s=0.1), peers=GATEWAYS):
        assert world.mesh.victims == {f"{world.namespace}/{POD}", f"{world.namespace}/gateway-1"}


def test_without_peers_only_the_pod_is_a_target(world: World) -> None:
    """What the pod sends is disturbed for everybody, and so can be measured from anywhere."""
    with world.hold(Latency(pod=POD, delay_s=0.1)):
        assert world.mesh.victims == {f"{world.namespace}/{POD}"}


@pytest.mark.timeout(LONG / 2)
def test_nothing_selected_is_void_at_once(world: World) -> None:
    """The controller's event that nothing is selected ends the wait, since it will not try again."""
    world.mesh.behaviour = Behaviour.SELECTS_NOTHING

    with (
        refused(Void, r"partition-\w+ selected no pod \(Failed to select targets: no record"),
        active(PARTITION, world.injector(), world.history),
    ):
        pass
    assert world.is_clean()


@pytest.mark.timeout(LONG / 2)
def test_nothing_selected_is_void_without_an_event(world: World) -> None:
    """The condition alone is believed after a while: it is false for a moment for every experiment."""
    world.mesh.behaviour = Behaviour.SELECTS_NOTHING_SILENTLY
    limits = StepLimits(select_s=0.5, inject_s=LONG)

    with refused(Void, r"selected no pod \(its condition says so\).*inject=enabled"):
        world.prepare(PARTITION, limits).inject()


def test_a_pod_that_is_not_there_is_not_selected(world: World) -> None:
    """A fault for a pod that is gone is void."""
    with refused(Void, "selected no pod"):
        world.prepare(Partition(pod="qwen-9")).inject()


def test_failed_injection_is_void(world: World) -> None:
    """What is not injected in time is void, with what the daemon said, and is removed like anything else."""
    world.mesh.behaviour, world.mesh.failure = Behaviour.INJECTION_FAILS, "no such container"
    said = f"not injected within 5 s: {world.namespace}/{POD}: apply: no such container"

    with (
        refused(Void, said),
        active(PARTITION, world.injector(StepLimits(inject_s=5)), world.history),
    ):
        pass
    assert world.is_clean()


@pytest.mark.timeout(LONG / 2)
@pytest.mark.parametrize(
    "failure", ["Error: Specified qdisc kind is unknown.", "Error: Specified qdisc not found."]
)
def test_a_kernel_that_cannot_is_not_run(failure: str, world: World) -> None:
    """A missing kernel module does not make a fault void: it was never carried out, and nothing is left."""
    world.mesh.behaviour, world.mesh.failure = Behaviour.INJECTION_FAILS, failure

    with refused(NotRun, rf"the kernel of the pod's node cannot do it: .*{failure}"):
        world.prepare(Latency(pod=POD, delay_s=0.1)).inject()
    assert world.is_clean()


def test_a_daemon_that_does_not_say_why_is_not_run(world: World) -> None:
    """Network faults that fail for a reason which is only in the daemon's log say where to look."""
    world.mesh.behaviour = Behaviour.INJECTION_FAILS
    world.mesh.failure = f"unable to set tcs for pod {POD}"

    with refused(
        NotRun, rf"not injected within 2 s: .*unable to set tcs for pod {POD}; .* xt_set.* chaos-daemon"
    ):
        world.prepare(Latency(pod=POD, delay_s=0.1), StepLimits(inject_s=2)).inject()
    assert world.is_clean()


def test_records_without_an_effect_are_void(world: World) -> None:
    """That every record is injected proves nothing when no effect is measured."""
    world.effect = False

    with (
        refused(Void, r"partition had no measured effect: well; partition-\w+ was injected at"),
        active(PARTITION, world.injector(), world.history, proof_timeout_s=0.5),
    ):
        pass
    assert world.is_clean()


def test_an_effect_without_an_experiment_is_reported(world: World) -> None:
    """Before and after it is held, a fault is there when its effect is, whatever causes it."""
    injection = world.inject(PARTITION)
    another = world.prepare(PARTITION)

    assert another.measure() == Effect(True, "broken")
    injection.recover()
    assert another.measure() == Effect(False, "well")


@pytest.mark.parametrize(
    ("behaviour", "limits", "told", "by_controllers"),
    [
        pytest.param(
            Behaviour.NEVER_RECOVERS,
            StepLimits(recover_s=3, delete_s=0.2, force_s=LONG),
            "recover: the daemon said no",
            True,
            id="never recovers",
        ),
        pytest.param(
            Behaviour.KEEPS_FINALIZER,
            StepLimits(recover_s=LONG, delete_s=0.2, force_s=LONG),
            "acted from",
            True,
            id="keeps its finalizer",
        ),
        pytest.param(
            Behaviour.DEAD,
            StepLimits(recover_s=0.2, delete_s=0.2, force_s=0.2),
            "was injected at",
            False,
            id="controllers are gone",
        ),
    ],
)
def test_what_does_not_go_is_forced(
    behaviour: Behaviour, limits: StepLimits, told: str, by_controllers: bool, world: World
) -> None:
    """Recovery is bounded: the finalizer is forced, by controllers if they live; proof and history say so."""
    injection = world.inject(PARTITION, limits)
    world.mesh.behaviour = behaviour
    injection.recover()

    evidence = injection.measure().evidence
    assert told in evidence
    assert "its finalizer was forced, so rules may be left in the pod" in evidence
    assert world.is_clean()
    assert [each["forced"] for each in world.noted("stop")] == [True]
    assert bool(world.mesh.forced) is by_controllers


def test_an_effect_that_outlives_the_experiment_is_no_proof(world: World) -> None:
    """While a fault is held, an effect proves it only if its records say that it acts."""
    injection = world.inject(PARTITION)
    world.effect = True

    assert injection.measure().present
    (resource,) = world.experiments()
    world.change(resource, {"annotations": {PAUSE: "true"}})
    wait_for(lambda: not injection.measure().present, what="its records say it ended", timeout_s=LONG)
    injection.recover()
    assert injection.measure().present


def test_a_fault_that_ended_by_itself_does_not_act(world: World) -> None:
    """Past its duration, which counts from its creation, an experiment is over, even if it is still held."""
    injection = world.inject(PARTITION, StepLimits(hold_s=5))

    ended = wait_for(
        # Its records are changed after its effect is gone.
        lambda: seen if " acted from " in (seen := injection.measure()).evidence else None,
        what="it ended",
        timeout_s=LONG,
    )
    assert not ended.present
    injection.recover()
    assert world.is_clean()


def test_what_acts_once_is_not_waited_for(world: World) -> None:
    """A kill has no recovery: it happened as soon as it was injected, and its experiment is just deleted."""
    kill = PodKill(pod=POD)
    injection = world.inject(kill)
    (resource,) = world.experiments()

    assert "duration" not in resource["spec"]
    assert injection.measure().present
    injection.recover()
    injection.measure()
    assert world.acting == [True, False]
    assert world.is_clean()
    assert [each["recovered_at"] for each in world.noted("stop")] == [None]


def test_one_experiment_at_a_time_acts_on_a_pod(world: World) -> None:
    """Another injector waits until the pod is free, and gives up with the name of what holds it."""
    first, second = world.inject(PARTITION), world.prepare(PodFailure(pod=POD), StepLimits(free_s=0.5))
    (resource,) = world.experiments()

    with refused(NotRun, f"{resource['metadata']['name']} acted on {POD} for 0.5 s"):
        second.inject()
    world.inject(PodFailure(pod=OTHER)).recover()
    first.recover()
    assert world.is_clean()


def test_an_experiment_waits_for_its_pod(world: World) -> None:
    """As soon as the pod is free the next experiment acts on it."""
    first, second = world.inject(PARTITION), world.prepare(PodFailure(pod=POD))
    waiting = threading.Thread(target=second.inject)
    waiting.start()
    first.recover()
    waiting.join(LONG)

    assert [each["kind"] for each in world.experiments()] == ["PodChaos"]
    second.recover()


def test_an_experiment_without_records_counts(world: World) -> None:
    """A pod is taken from the moment that an experiment for it is created."""
    world.mesh.behaviour = Behaviour.DEAD
    first = world.prepare(PARTITION, StepLimits(inject_s=0.2, delete_s=0.2, force_s=0.2))

    with refused(Void, r"not injected within 0\.2 s: is not injected"):
        first.inject()
    with refused(NotRun, f"acted on {POD} for 0.2 s"):
        world.prepare(PodFailure(pod=POD), StepLimits(free_s=0.2)).inject()
    first.recover()
    assert world.is_clean()


def test_an_experiment_that_is_somebody_elses_counts(world: World) -> None:
    """Records tell that a pod is taken, also those of an experiment without our labels."""
    first = world.inject(PARTITION)
    (resource,) = world.experiments()
    world.change(resource, {"labels": None})

    with refused(NotRun, resource["metadata"]["name"]):
        world.prepare(PodFailure(pod=POD), StepLimits(free_s=0.5)).inject()
    first.recover()


def test_without_controllers_nothing_is_created(world: World) -> None:
    """What no controller would carry out is not run, and there is nothing to clean up."""
    world.mesh.set_ready("chaos-daemon", ready=False)

    with refused(NotRun, "cannot inject partition: no ready chaos-daemon of Chaos Mesh runs"):
        world.prepare(PARTITION).inject()
    assert not world.ledger.path.exists()


def test_what_is_impossible_is_not_run(world: World) -> None:
    """A fault that Chaos Mesh does not have is not even prepared."""
    fault = MessageLoss(pod=POD, fraction=0.5)
    injector = world.injector()

    assert injector.impossible(fault) == "chaos mesh has no experiment for message loss"
    with refused(NotRun, "chaos mesh has no experiment for message loss"):
        injector.prepare(fault)
    assert not world.ledger.path.exists()


def test_it_is_in_the_ledger_before_it_exists(world: World) -> None:
    """An experiment that could not be created is in the ledger until it is taken back."""
    world.namespace = "kvsync-test-nowhere"
    injection = world.prepare(PARTITION)

    with pytest.raises(ClusterError, match=r"cannot create partition-\w+: 404"):
        injection.inject()
    assert [entry.facts["namespace"] for entry in leftovers([world.ledger.path])] == ["kvsync-test-nowhere"]
    injection.recover()
    assert leftovers([world.ledger.path]) == []


@pytest.mark.skipif(Tools().find("kubectl") is None, reason="needs kubectl")
def test_whoever_cleans_up_finds_it(world: World) -> None:
    """What the ledger has about an experiment is enough to remove that of a run that was killed."""
    world.inject(PARTITION)
    (entry,) = leftovers([world.ledger.path])

    assert reap(entry, Tools())
    assert world.experiments() == []
    assert not reap(entry, Tools())


def test_somebody_else_may_delete_it(world: World) -> None:
    """A held fault whose experiment is gone does not act, and taking it back does no harm."""
    injection = world.inject(PARTITION)
    (resource,) = world.experiments()
    world.delete(resource)
    wait_for(lambda: not world.experiments(), what="it is gone", timeout_s=LONG)

    assert injection.measure() == Effect(False, f"well; {resource['metadata']['name']} is gone")
    injection.recover()
    injection.recover()
    assert world.is_clean()
