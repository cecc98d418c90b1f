"""Carries faults out with Chaos Mesh, and believes only what its records say and a measurement confirms.

- One experiment at a time acts on a pod, no matter who made it: two would undo each other's rules.
- Experiments select their pod by name, so they never reach the one that takes its place.
- What acts once is never recovered: its experiment is only deleted.
- Every experiment is in the ledger before it is created, with the facts that kubectl needs to remove it.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from kubernetes.client import ApiClient, CustomObjectsApi

from kvsync.testing.clusters.kubernetes.api_errors import NOT_FOUND, Forbidden, failures
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import MANAGED, RUN_LABEL, Manifest
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.faults.chaosmesh.experiment import RunningExperiment, StepLimits
from kvsync.testing.faults.chaosmesh.installation import lacking
from kvsync.testing.faults.chaosmesh.manifest import GROUP, VERSION, Victims, impossible, plural, render
from kvsync.testing.faults.chaosmesh.resource import INTERVAL_S, REQUEST_TIMEOUT_S, Reference
from kvsync.testing.faults.chaosmesh.status import ExperimentStatus
from kvsync.testing.faults.fault import Fault, OneShot, name_of, to_json
from kvsync.testing.faults.holding import Effect
from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun

KINDS = ("NetworkChaos", "PodChaos", "StressChaos", "IOChaos", "TimeChaos", "HTTPChaos")
POD_LABEL = "kvsync.dev/pod"
"""On an experiment: its pod, which its records name only after a while."""


class Measure(Protocol):
    """Looks at a fault's pod independently of what is tested, and from where the fault acts."""

    def __call__(self, *, acting: bool) -> Effect:
        """Measure whether the fault acts, as Injection says; `acting` from `inject` to `recover`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosMeshInjector:
    """An Injector for the pods of one namespace.

    `observe` looks at a fault's pod before the fault, to compare with it. Without `peers` delay, loss and
    corruption act on what the pod sends, to any address, so they can be measured from anywhere; with peers
    they act both ways between the pod and these, and only these can measure them. `machine` says in the
    ledger how the cluster is reached. The history gets, for each experiment, when its records say that it was
    injected and recovered.
    """

    client: ApiClient
    namespace: str
    machine: Machine
    ledger: Ledger
    history: History
    observe: Callable[[Fault], Measure]
    peers: Victims | None = None
    limits: StepLimits = field(default_factory=StepLimits)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        return impossible(fault)

    def prepare(self, fault: Fault) -> "ExperimentFault":
        """See Injector."""
        if reason := impossible(fault):
            raise NotRun(reason)
        return ExperimentFault(self, fault)

    def experiments_on(self, pod: str) -> list[str]:
        """Return the experiments of the namespace that are for this pod or act on it."""
        api = CustomObjectsApi(self.client)
        found: list[Manifest] = []
        for kind in KINDS:
            with failures(f"list {kind}", unless=NOT_FOUND):
                listed = api.list_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, plural(kind), _request_timeout=REQUEST_TIMEOUT_S
                )
                found += cast("dict[str, Any]", listed)["items"]
        return [each["metadata"]["name"] for each in found if self._concerns(each, pod)]

    def _concerns(self, resource: Manifest, pod: str) -> bool:
        is_for = resource["metadata"].get("labels", {}).get(POD_LABEL) == pod
        return is_for or ExperimentStatus.parse(resource).concerns(self.namespace, pod)


class ExperimentFault:
    """One fault, as an experiment."""

    def __init__(self, injector: ChaosMeshInjector, fault: Fault) -> None:
        self._by, self._fault, self._measure = injector, fault, injector.observe(fault)
        self._held: tuple[RunningExperiment, LedgerEntry] | None = None
        self._past = ""  # how the experiment ended

    def inject(self) -> None:
        """Create the experiment, and wait until its records say that it acts.

        Raises NotRun for what is missing here, Void when nothing is selected or not injected in time.
        """
        manifest = self._render()
        try:
            if reason := lacking(self._by.client, manifest["kind"]):
                raise NotRun(f"cannot inject {name_of(self._fault)}: {reason}")
            experiment = self._create_when_free(manifest)
        except Forbidden as exc:  # so nothing was made
            if self._held:
                self._by.ledger.released(self._held[1])
                self._held = None
            raise NotRun(f"cannot inject {name_of(self._fault)}: {exc}") from exc
        try:
            status = experiment.await_injected()
        except NotRun:
            self.recover()
            raise
        self._note("start", experiment, status)

    def recover(self) -> None:
        """Let the experiment recover, unless it acted once, and delete it.

        What is not recovered in time is forced, and later measurements say so. Raises WaitTimeout when the
        experiment cannot be deleted at all; the ledger still has it then.
        """
        if self._held is None:
            return
        experiment, entry = self._held
        status = experiment.status() if isinstance(self._fault, OneShot) else experiment.recover()
        forced = experiment.remove()
        self._by.ledger.released(entry)
        self._held = None
        warning = "; its finalizer was forced, so rules may be left in the pod" if forced else ""
        self._past = _account(experiment, status) + warning
        self._note("stop", experiment, status, forced=forced)

    def measure(self) -> Effect:
        """See Injection. A held fault acts when both its records and the measured effect say so."""
        effect = self._measure(acting=self._held is not None)
        if self._held is None:
            return Effect(effect.present, "; ".join(filter(None, [effect.evidence, self._past])))
        experiment, _ = self._held
        status = experiment.status()
        once = isinstance(self._fault, OneShot)
        acts = bool(status and (status.was_injected if once else status.is_injected))
        return Effect(effect.present and acts, f"{effect.evidence}; {_account(experiment, status)}")

    def _render(self) -> Manifest:
        by, fault = self._by, self._fault
        return render(
            fault,
            name=f"{name_of(fault).replace(' ', '-')}-{secrets.token_hex(4)}",
            namespace=by.namespace,
            victims=Victims(pods={by.namespace: (fault.pod,)}),
            duration_s=by.limits.hold_s,
            labels={**MANAGED, RUN_LABEL: by.ledger.run, POD_LABEL: fault.pod},
            peers=by.peers,
        )

    def _create_when_free(self, manifest: Manifest) -> RunningExperiment:
        """Create the experiment as soon as no other one acts on its pod."""
        pod, others = self._fault.pod, list[str]()

        def created() -> RunningExperiment | None:
            nonlocal others
            with self._by.lock:
                others = self._by.experiments_on(pod)
                return None if others else self._create(manifest)

        limit_s = self._by.limits.free_s
        try:
            return wait_for(created, what=f"{pod} is free", timeout_s=limit_s, interval_s=INTERVAL_S)
        except WaitTimeout as exc:
            raise NotRun(
                f"cannot inject {name_of(self._fault)}: {', '.join(others)} acted on {pod} for {limit_s:g} s,"
                " and two experiments on a pod undo each other; delete what is there"
            ) from exc

    def _create(self, manifest: Manifest) -> RunningExperiment:
        reference = Reference(
            group=GROUP,
            version=VERSION,
            plural=plural(manifest["kind"]),
            namespace=self._by.namespace,
            name=manifest["metadata"]["name"],
        )
        experiment = RunningExperiment(self._by.client, reference, self._by.limits)
        entry = self._by.ledger.intend(
            "custom-resource",
            reference.name,
            kubeconfig=self._by.machine.kubeconfig,
            context=self._by.machine.context,
            kind_cluster=self._by.machine.kind,
            **reference.facts,
        )
        self._held = experiment, entry
        experiment.create(manifest)
        self._by.ledger.created(entry)
        return experiment

    def _note(
        self,
        type_: str,
        experiment: RunningExperiment,
        status: ExperimentStatus | None,
        **more: object,
    ) -> None:
        times = {
            "injected_at": status and status.injected_at,
            "recovered_at": status and status.recovered_at,
            "acted_s": status and status.acted_s,
        }
        facts = {"fault": to_json(self._fault), "name": experiment.name, **times, **more}
        self._by.history.append(f="experiment", type=type_, **facts)


def _account(experiment: RunningExperiment, status: ExperimentStatus | None) -> str:
    return f"{experiment.name} {status.describe() if status else 'is gone'}"
