"""Plays Chaos Mesh's controllers for the experiments of one namespace on an API server without them.

It does nothing to any pod. It selects pods, keeps records, conditions, events and finalizers as the
controllers do, each at its next look: that nothing is selected yet, the records, the injection, the recovery
when an experiment is paused, deleted or older than its duration (counted from its creation), and the end of
the finalizer. `behaviour` switches to what controllers do when something goes wrong.
"""

import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self, cast

from kubernetes.client import ApiClient, ApiException, CoreV1Api, CustomObjectsApi

from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.faults.chaosmesh.experiment import PAUSE, UNSELECTED
from kvsync.testing.faults.chaosmesh.installation import COMPONENT_LABEL, COMPONENTS, PART, PART_LABEL
from kvsync.testing.faults.chaosmesh.manifest import GROUP, VERSION, plural
from kvsync.testing.faults.chaosmesh.resource import FORCE, REQUEST_TIMEOUT_S
from kvsync.testing.faults.chaosmesh.status import INJECTED, NOT_INJECTED

FINALIZER = "chaos-mesh/records"
LOOK_S = 0.05
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class Behaviour(Enum):
    """How the controllers behave."""

    WELL = "well"
    SELECTS_NOTHING = "selects nothing"
    SELECTS_NOTHING_SILENTLY = "selects nothing and writes no event"
    INJECTION_FAILS = "injection fails"
    NEVER_RECOVERS = "never recovers"
    KEEPS_FINALIZER = "recovers and keeps the finalizer, unless forced"
    DEAD = "does nothing any more"


class FakeChaosMesh:
    """Controllers for some kinds of experiments, in a thread of their own; used as a context manager.

    `failure` is the message of failed injections and recoveries; `forced` has the names of experiments whose
    finalizer was dropped without a recovery, because that was asked for.
    """

    def __init__(self, client: ApiClient, namespace: str, kinds: Iterable[str]) -> None:
        self.behaviour = Behaviour.WELL
        self.failure = "the daemon said no"
        self.forced: set[str] = set()
        self._namespace, self._kinds = namespace, tuple(kinds)
        self._core, self._custom = CoreV1Api(client), CustomObjectsApi(client)
        self._acting: dict[str, frozenset[str]] = {}
        self._refused: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-chaos-mesh", daemon=True)

    def __enter__(self) -> Self:
        for component in COMPONENTS:
            self._core.create_namespaced_pod(self._namespace, _pod(component))
            self.set_ready(component, ready=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(REQUEST_TIMEOUT_S)
        for component in COMPONENTS:
            self._core.delete_namespaced_pod(component, self._namespace, grace_period_seconds=0)

    @property
    def victims(self) -> frozenset[str]:
        """The ids (namespace/pod) of what is injected now: what would be broken, were this not a fake."""
        return frozenset().union(*self._acting.values())

    def set_ready(self, component: str, *, ready: bool) -> None:
        """Say of a component's pod whether it is ready; no node runs it, so nothing else will."""
        condition = {"type": "Ready", "status": str(ready)}
        self._core.patch_namespaced_pod_status(
            component, self._namespace, {"status": {"conditions": [condition]}}
        )

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            if self.behaviour is not Behaviour.DEAD:
                for kind in self._kinds:
                    self._look(kind)

    def _look(self, kind: str) -> None:
        place = (GROUP, VERSION, self._namespace, plural(kind))
        listed = self._custom.list_namespaced_custom_object(*place, _request_timeout=REQUEST_TIMEOUT_S)
        for resource in cast("dict[str, Any]", listed)["items"]:
            change = self._reconcile(resource)
            if change:
                # A resource that changed or went meanwhile is looked at again.
                with suppress(ApiException):
                    self._custom.patch_namespaced_custom_object(
                        *place, resource["metadata"]["name"], change, _request_timeout=REQUEST_TIMEOUT_S
                    )

    def _reconcile(self, resource: Manifest) -> Manifest:
        """Return the next change of a resource; nothing when it is as it should be."""
        metadata, status = resource["metadata"], resource.get("status")
        if "deletionTimestamp" in metadata and metadata.get("annotations", {}).get(FORCE) == "forced":
            self.forced.add(metadata["name"])
            return {"metadata": {"finalizers": []}}
        if status is None:
            return {"metadata": {"finalizers": [FINALIZER]}, "status": _status([], "Run")}
        stop = _should_stop(resource, datetime.now(UTC))
        records = status["experiment"].get("containerRecords") or []
        after = [self._step(each, stop=stop) for each in records] or self._select(resource)
        self._acting[metadata["name"]] = frozenset(r["id"] for r in after if r["phase"] == INJECTED)
        if after != records:
            return {"status": _status(after, "Stop" if stop else "Run")}
        is_done = not self._acting[metadata["name"]] and self.behaviour is not Behaviour.KEEPS_FINALIZER
        return {"metadata": {"finalizers": []}} if "deletionTimestamp" in metadata and is_done else {}

    def _step(self, record: Manifest, *, stop: bool) -> Manifest:
        """Return a record after one attempt to bring it to its desired phase."""
        phase, events = record["phase"], record.get("events", [])
        if phase == (NOT_INJECTED if stop else INJECTED):
            return record
        operation = "Recover" if stop else "Apply"
        fails = Behaviour.NEVER_RECOVERS if stop else Behaviour.INJECTION_FAILS
        if self.behaviour is fails:
            failed = bool(events) and events[-1]["type"] == "Failed"
            return (
                record
                if failed
                else {**record, "events": [*events, _event("Failed", operation, self.failure)]}
            )
        counter = "recoveredCount" if stop else "injectedCount"
        return {
            **record,
            "phase": NOT_INJECTED if stop else INJECTED,
            counter: record[counter] + 1,
            "events": [*events, _event("Succeeded", operation, "")],
        }

    def _select(self, resource: Manifest) -> list[Manifest]:
        """Return new records of the pods that its selectors find; none when one of them finds none."""
        spec = resource["spec"]
        selectors = {".": spec["selector"]} | (
            {".Target": spec["target"]["selector"]} if "target" in spec else {}
        )
        found = {key: self._pods(selector) for key, selector in selectors.items()}
        if all(found.values()):
            return [_record(id_, key) for key, ids in found.items() for id_ in ids]
        if self.behaviour is not Behaviour.SELECTS_NOTHING_SILENTLY:
            self._refuse(resource["metadata"])
        return []

    def _pods(self, selector: Manifest) -> list[str]:
        if self.behaviour in {Behaviour.SELECTS_NOTHING, Behaviour.SELECTS_NOTHING_SILENTLY}:
            return []
        labels = ",".join(f"{key}={value}" for key, value in selector.get("labelSelectors", {}).items())
        pods = self._core.list_namespaced_pod(self._namespace, label_selector=labels or None).items
        names = [cast("Any", pod).metadata.name for pod in pods]
        wanted = selector.get("pods", {}).get(self._namespace, names)
        return [f"{self._namespace}/{name}" for name in names if name in wanted]

    def _refuse(self, metadata: Manifest) -> None:
        """Write the event of an experiment that selects nothing, once."""
        if metadata["name"] in self._refused:
            return
        self._refused.add(metadata["name"])
        about = {"name": metadata["name"], "namespace": self._namespace, "uid": metadata["uid"]}
        event = {
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": self._namespace},
            "involvedObject": about,
            "type": "Warning",
            "reason": "Failed",
            "message": f"{UNSELECTED}: no record has been selected",
        }
        self._core.create_namespaced_event(self._namespace, cast("Any", event))


def _should_stop(resource: Manifest, now: datetime) -> bool:
    metadata = resource["metadata"]
    paused = metadata.get("annotations", {}).get(PAUSE) == "true"
    duration_s = _seconds(resource["spec"].get("duration", ""))
    age_s = (now - datetime.fromisoformat(metadata["creationTimestamp"])).total_seconds()
    return "deletionTimestamp" in metadata or paused or age_s > duration_s


def _seconds(duration: str) -> float:
    """Read a duration of one unit, as this package writes them; without one there is no end."""
    match = re.fullmatch(r"(\d+)(s|ms|us)", duration)
    return int(match[1]) * SECONDS[match[2]] if match else float("inf")


def _record(id_: str, selector_key: str) -> Manifest:
    counts = {"injectedCount": 0, "recoveredCount": 0}
    return {"id": id_, "selectorKey": selector_key, "phase": NOT_INJECTED, "events": [], **counts}


def _event(type_: str, operation: str, message: str) -> Manifest:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": type_, "operation": operation, "timestamp": at, "message": message}


def _status(records: list[Manifest], desired: str) -> Manifest:
    injected = [each["phase"] == INJECTED for each in records]
    conditions = {
        "Selected": bool(records),
        "AllInjected": bool(records) and all(injected),
        # As the controllers count: what was never injected is recovered, too.
        "AllRecovered": bool(records) and not any(injected),
        "Paused": False,
    }
    return {
        "conditions": [{"type": key, "status": str(value)} for key, value in conditions.items()],
        "experiment": {"desiredPhase": desired, "containerRecords": records},
    }


def _pod(name: str) -> Any:
    """Return a pod that no scheduler takes: it exists, and runs nowhere."""
    container = {"name": "fake", "image": "fake"}
    return {
        "metadata": {"name": name, "labels": {PART_LABEL: PART, COMPONENT_LABEL: name}},
        "spec": {"automountServiceAccountToken": False, "schedulerName": "nobody", "containers": [container]},
    }
