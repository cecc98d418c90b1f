"""One experiment from its creation to its removal; waits until it really is injected, or recovered."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kubernetes.client import ApiClient, CoreV1Api

from kvsync.testing.clusters.kubernetes.api_errors import failures
from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.faults.chaosmesh.resource import (
    INTERVAL_S,
    REQUEST_TIMEOUT_S,
    ExperimentResource,
    Reference,
)
from kvsync.testing.faults.chaosmesh.status import ExperimentStatus
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.verdicts import NotRun, Void

PAUSE = "experiment.chaos-mesh.org/pause"
"""With the value "true", controllers recover what was injected and keep the records, which deletion takes."""

UNSELECTED = "Failed to select targets"
"""How the event begins that is written when an experiment selects nothing; it is not tried again."""

LACKING = (
    "qdisc kind is unknown",
    "qdisc not found",
    "Couldn't load match",
    "Cannot open session to kernel",
)
"""What tc, iptables and ipset say in a failed injection when the node's kernel lacks a module."""

UNEXPLAINED = ("unable to set tcs", "unable to flush ip sets", "unable to set ip tables chains")
"""What a network experiment says instead when only its daemon knows why (Chaos Mesh 2.0 to 2.7)."""
EXPLANATION = (
    "mostly a kernel without ip_set, xt_set, sch_netem or sch_tbf; the log of the chaos-daemon on the pod's"
    " node says why"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """How long each step may take, in seconds.

    `free_s`: until no other experiment acts on the pod. `select_s`: an experiment that selects something
    says for a moment that it does not. `hold_s`: the experiment's own duration; it only ends what is
    not recovered, so it is longer than any fault is held.
    """

    free_s: float = 60.0
    select_s: float = 5.0
    inject_s: float = 30.0
    recover_s: float = 30.0
    delete_s: float = 20.0
    force_s: float = 5.0
    hold_s: float = 900.0


class RunningExperiment:
    """An experiment on an API server; ClusterError when that cannot be asked or refuses."""

    def __init__(
        self,
        client: ApiClient,
        reference: Reference,
        limits: StepLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = reference.name
        self._namespace = reference.namespace
        self._resource = ExperimentResource(client, reference)
        self._core, self._limits, self._clock = CoreV1Api(client), limits, clock

    def create(self, manifest: Manifest) -> None:
        """Create its resource."""
        self._resource.create(manifest)

    def status(self) -> ExperimentStatus | None:
        """Return what its records say, None when it is gone."""
        found = self._resource.read()
        return None if found is None else ExperimentStatus.parse(found)

    def await_injected(self) -> ExperimentStatus:
        """Wait until every victim is injected.

        Raises Void when nothing is selected or not everything injected in time, and NotRun when the node's
        kernel cannot do it, or its daemon cannot and does not say why.
        """
        select_until = self._clock() + self._limits.select_s
        seen: ExperimentStatus | None = None

        def injected() -> bool:
            nonlocal seen
            seen = self.status()
            self._give_up(seen, late=self._clock() >= select_until)
            return seen is not None and seen.was_injected

        with suppress(WaitTimeout):
            self._await(injected, "is injected", self._limits.inject_s)
        if seen is None or not seen.was_injected:
            state = seen.describe() if seen else "was not seen"
            reason = f"{self.name} not injected within {self._limits.inject_s:g} s: {state}"
            if any(text in state for text in UNEXPLAINED):
                raise NotRun(f"{reason}; {EXPLANATION}")
            raise Void(reason)
        return seen

    def recover(self) -> ExperimentStatus | None:
        """Wait until what was injected is recovered, as long as that may take; returns the last status."""
        status = self.status()
        if status is None or not status.is_injected:
            return status
        self._resource.annotate(PAUSE, "true")

        def recovered() -> bool:
            nonlocal status
            status = self.status() or status
            return status is not None and status.was_recovered

        with suppress(WaitTimeout):
            self._await(recovered, "is recovered", self._limits.recover_s)
        return status

    def remove(self) -> bool:
        """See ExperimentResource.remove."""
        return self._resource.remove(timeout_s=self._limits.delete_s, force_timeout_s=self._limits.force_s)

    def _give_up(self, status: ExperimentStatus | None, *, late: bool) -> None:
        """Raise when waiting longer is of no use."""
        if status is None:
            raise Void(f"{self.name} was deleted by somebody else before it was injected")
        refusal = "" if status.records else self._refusal()
        if refusal or (late and status.selected is False):
            hint = "is its namespace annotated with chaos-mesh.org/inject=enabled?"
            raise Void(f"{self.name} selected no pod ({refusal or 'its condition says so'}); {hint}")
        for failure in status.failures:
            if any(text in failure for text in LACKING):
                raise NotRun(f"{self.name}: the kernel of the pod's node cannot do it: {failure}")

    def _refusal(self) -> str:
        """Return the event of an experiment that selects nothing."""
        with failures(f"list the events of {self.name}"):
            events = self._core.list_namespaced_event(
                self._namespace,
                field_selector=f"involvedObject.name={self.name}",
                _request_timeout=REQUEST_TIMEOUT_S,
            )
        return next((str(each.message) for each in events.items if UNSELECTED in str(each.message)), "")

    def _await(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        wait_for(condition, what=f"{self.name} {what}", timeout_s=timeout_s, interval_s=INTERVAL_S)
