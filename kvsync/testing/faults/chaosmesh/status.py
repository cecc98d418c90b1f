"""What an experiment's resource says happened: its records, counted and dated by the controllers. Pure.

Rules, each because the obvious reading is wrong:

- Injected is what was injected at least once for every record, with a successful Apply event: the condition
  AllInjected of an experiment that selected nothing says nothing.
- Recovered is what was injected and then recovered, with a successful Recover event: the condition
  AllRecovered is "every record is not injected", which is also true when injection failed.
- The fault acted on all victims between the last successful Apply and the first successful Recover. Neither
  the creation of the resource nor its `duration`, which counts from there, says when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from kvsync.testing.clusters.kubernetes.manifests import Manifest

Operation = Literal["Apply", "Recover"]
INJECTED, NOT_INJECTED = "Injected", "Not Injected"
"""The phases in which nothing is under way; "Injected/Wait" is on its way to the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """One attempt to do or undo something to one pod or container."""

    operation: str
    succeeded: bool
    at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VictimRecord:
    """One victim: `id` is namespace/pod, or namespace/pod/container."""

    id: str
    phase: str
    injected: int
    recovered: int
    events: Sequence[RecordEvent] = ()

    @property
    def is_injected(self) -> bool:
        """Whether it is injected now, and not being recovered."""
        return self.phase == INJECTED

    def succeeded_at(self, operation: Operation) -> datetime | None:
        """Return when an operation last succeeded; None also when its event was dropped: few are kept."""
        times = [each.at for each in self.events if each.operation == operation and each.succeeded]
        return max(times, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentStatus:
    """The state of one experiment. `selected` is None as long as no controller has said anything."""

    selected: bool | None
    records: Sequence[VictimRecord]

    @classmethod
    def parse(cls, resource: Manifest) -> "ExperimentStatus":
        """Read the status of a custom resource; one without a status was seen by no controller yet."""
        status = cast("dict[str, Any]", resource.get("status") or {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
        records = (status.get("experiment") or {}).get("containerRecords") or ()
        selected = conditions.get("Selected")
        return cls(
            selected=None if selected is None else selected == "True",
            records=[_record(each) for each in records],
        )

    @property
    def was_injected(self) -> bool:
        """Whether every victim was injected at some time."""
        return bool(self.records) and all(
            each.injected >= 1 and each.succeeded_at("Apply") for each in self.records
        )

    @property
    def is_injected(self) -> bool:
        """Whether every victim is injected now."""
        return self.was_injected and all(each.is_injected for each in self.records)

    @property
    def was_recovered(self) -> bool:
        """Whether every victim was injected and is recovered now."""
        return self.was_injected and all(
            each.recovered >= 1 and each.phase == NOT_INJECTED and each.succeeded_at("Recover")
            for each in self.records
        )

    @property
    def failures(self) -> list[str]:
        """What went wrong last for each victim whose last attempt failed."""
        last = [(each.id, each.events[-1]) for each in self.records if each.events]
        return [
            f"{id_}: {event.operation.lower()}: {event.message}" for id_, event in last if not event.succeeded
        ]

    @property
    def injected_at(self) -> datetime | None:
        """Since when all victims were injected."""
        return max(filter(None, (each.succeeded_at("Apply") for each in self.records)), default=None)

    @property
    def recovered_at(self) -> datetime | None:
        """Since when not all victims are injected any more."""
        return min(filter(None, (each.succeeded_at("Recover") for each in self.records)), default=None)

    @property
    def acted_s(self) -> float | None:
        """How long all victims were injected; None while they are, and for what was never injected."""
        since, until = self.injected_at, self.recovered_at
        return (until - since).total_seconds() if self.was_recovered and since and until else None

    def describe(self) -> str:
        """Say in words how far it came."""
        if self.acted_s is not None:
            return f"acted from {self.injected_at} to {self.recovered_at}, {self.acted_s:g} s"
        if self.was_injected:
            return f"was injected at {self.injected_at}" + "".join(f"; {each}" for each in self.failures)
        if self.selected is False:
            return "selected no pod"
        return "; ".join(self.failures) or "is not injected"

    def concerns(self, namespace: str, pod: str) -> bool:
        """Say whether this pod is injected now, or being injected or recovered."""
        return any(
            each.id.split("/")[:2] == [namespace, pod] and each.phase != NOT_INJECTED for each in self.records
        )


def _record(raw: dict[str, Any]) -> VictimRecord:
    return VictimRecord(
        id=raw["id"],
        phase=raw["phase"],
        injected=raw["injectedCount"],
        recovered=raw["recoveredCount"],
        events=[_event(each) for each in raw.get("events") or ()],
    )


def _event(raw: dict[str, Any]) -> RecordEvent:
    return RecordEvent(
        operation=raw["operation"],
        succeeded=raw["type"] == "Succeeded",
        at=datetime.fromisoformat(raw["timestamp"]),
        message=raw.get("message", ""),
    )
