"""Carries faults out with Chaos Mesh, and believes only what its records say and a measurement confirms.

- One experiment at a time acts on a pod, whoever made it: two would undo each other's rules.
- Experiments select their pod by name, so they never reach the one that takes its place.
- What acts once is never recovered, by nobody: its experiment is only deleted.
- Every experiment is in the ledger before it is created, with the facts that kubectl needs to remove it.
"""

import secrets
import threading
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
    """Looks at a fault's pod from outside of what is tested, and from where the fault acts."""

    def __call__(self, fault: Fault, *, acting: bool) -> Effect:
        """Measure whether a fault acts, as Injector says; `acting` from `inject` to `recover`."""


class ChaosMeshInjector:
    """An Injector for the pods of one namespace.

    Without `peers` delay, loss and
    corruption act on what the pod sends, to whomever, and so everybody can measure them; with peers they act
    both ways between the pod and these, and only these can. `machine` says in the ledger how the cluster is
    reached. The history gets, for each experiment, when its records say that it was injected and recovered.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        machine: Machine,
        ledger: Ledger,
        history: History,
        measure: Measure,
        peers: Victims | None = None,
        limits: StepLimits | None = None,
    ) -> None:
        self._client, self._namespace, self._machine = client, namespace, machine
        self._ledger, self._history, self._measure = ledger, history, measure
        self._peers, self._limits = peers, limits or StepLimits()
        self._held: dict[Fault, tuple[RunningExperiment, LedgerEntry]] = {}
        self._past: dict[Fault, str] = {}
        self._lock = threading.Lock()

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        return impossible(fault)

    def inject(self, fault: Fault) -> None:
        """See Injector. Also raises Void when Chaos Mesh selects nothing or does not inject it in time."""
        manifest = self._render(fault)
        try:
            if reason := lacking(self._client, manifest["kind"]):
                raise NotRun(f"cannot inject {name_of(fault)}: {reason}")
            experiment = self._create_when_free(fault, manifest)
        except Forbidden as exc:  # so nothing was made
            if held := self._held.pop(fault, None):
                self._ledger.released(held[1])
            raise NotRun(f"cannot inject {name_of(fault)}: {exc}") from exc
        try:
            status = experiment.await_injected()
        except NotRun:
            self.recover(fault)
            raise
        self._note("start", fault, experiment, status)

    def recover(self, fault: Fault) -> None:
        """See Injector. What cannot be recovered in time is forced, and the next measurements say so.

        Raises WaitTimeout when the experiment cannot be deleted at all; the ledger still has it then.
        """
        if fault not in self._held:
            return
        experiment, entry = self._held[fault]
        status = experiment.status() if isinstance(fault, OneShot) else experiment.recover()
        forced = experiment.remove()
        self._ledger.released(entry)
        del self._held[fault]
        warning = "; its finalizer was forced, so rules may be left in the pod" if forced else ""
        self._past[fault] = _account(experiment, status) + warning
        self._note("stop", fault, experiment, status, forced=forced)

    def measure(self, fault: Fault) -> Effect:
        """See Injector. A held fault acts when both its records and the measured effect say so."""
        if reason := impossible(fault):
            return Effect(False, reason)
        acting = fault in self._held
        effect = self._measure(fault, acting=acting)
        if not acting:
            return Effect(effect.present, "; ".join(filter(None, [effect.evidence, self._past.get(fault)])))
        experiment, _ = self._held[fault]
        status = experiment.status()
        acts = bool(status and (status.was_injected if isinstance(fault, OneShot) else status.is_injected))
        return Effect(effect.present and acts, f"{effect.evidence}; {_account(experiment, status)}")

    def _render(self, fault: Fault) -> Manifest:
        return render(
            fault,
            name=f"{name_of(fault).replace(' ', '-')}-{secrets.token_hex(4)}",
            namespace=self._namespace,
            victims=Victims(pods={self._namespace: (fault.pod,)}),
            duration_s=self._limits.hold_s,
            labels={**MANAGED, RUN_LABEL: self._ledger.run, POD_LABEL: fault.pod},
            peers=self._peers,
        )

    def _create_when_free(self, fault: Fault, manifest: Manifest) -> RunningExperiment:
        """Create the experiment as soon as no other one acts on its pod."""
        others: list[str] = []

        def created() -> RunningExperiment | None:
            nonlocal others
            with self._lock:
                others = self._experiments_on(fault.pod)
                return None if others else self._create(fault, manifest)

        limit_s = self._limits.free_s
        try:
            return wait_for(created, what=f"{fault.pod} is free", timeout_s=limit_s, interval_s=INTERVAL_S)
        except WaitTimeout as exc:
            raise NotRun(
                f"cannot inject {name_of(fault)}: {', '.join(others)} acted on {fault.pod} for {limit_s:g} s,"
                " and two experiments on a pod undo each other; delete what is there"
            ) from exc

    def _create(self, fault: Fault, manifest: Manifest) -> RunningExperiment:
        reference = Reference(
            group=GROUP,
            version=VERSION,
            plural=plural(manifest["kind"]),
            namespace=self._namespace,
            name=manifest["metadata"]["name"],
        )
        experiment = RunningExperiment(self._client, reference, self._limits)
        entry = self._ledger.intend(
            "custom-resource",
            reference.name,
            kubeconfig=self._machine.kubeconfig,
            context=self._machine.context,
            kind_cluster=self._machine.kind,
            **reference.facts,
        )
        self._held[fault] = experiment, entry
        experiment.create(manifest)
        self._ledger.created(entry)
        return experiment

    def _experiments_on(self, pod: str) -> list[str]:
        """Return the experiments of the namespace that are for this pod or act on it."""
        api = CustomObjectsApi(self._client)
        found: list[Manifest] = []
        for kind in KINDS:
            with failures(f"list {kind}", unless=NOT_FOUND):
                listed = api.list_namespaced_custom_object(
                    GROUP, VERSION, self._namespace, plural(kind), _request_timeout=REQUEST_TIMEOUT_S
                )
                found += cast("dict[str, Any]", listed)["items"]
        return [each["metadata"]["name"] for each in found if self._concerns(each, pod)]

    def _concerns(self, resource: Manifest, pod: str) -> bool:
        is_for = resource["metadata"].get("labels", {}).get(POD_LABEL) == pod
        return is_for or ExperimentStatus.parse(resource).concerns(self._namespace, pod)

    def _note(
        self,
        type_: str,
        fault: Fault,
        experiment: RunningExperiment,
        status: ExperimentStatus | None,
        **more: object,
    ) -> None:
        times = {
            "injected_at": status and status.injected_at,
            "recovered_at": status and status.recovered_at,
            "acted_s": status and status.acted_s,
        }
        facts = {"fault": to_json(fault), "name": experiment.name, **times, **more}
        self._history.append(f="experiment", type=type_, **facts)


def _account(experiment: RunningExperiment, status: ExperimentStatus | None) -> str:
    return f"{experiment.name} {status.describe() if status else 'is gone'}"
