"""A namespace that is being deleted, and what keeps it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

STUCK_AFTER = timedelta(seconds=60)
"""A namespace that nothing holds is gone in 10 s; the grace of its pods comes on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace as the API server has it; `held_by` is in Kubernetes' words, "" when nothing holds it."""

    name: str
    labels: Mapping[str, str]
    deleted_at: datetime | None
    held_by: str

    @classmethod
    def read(cls, document: object) -> "Namespace":
        """Read a namespace in JSON."""
        raw = cast("dict[str, Any]", document)
        metadata, deleted_at = raw["metadata"], raw["metadata"].get("deletionTimestamp")
        return cls(
            name=metadata["name"],
            labels=metadata.get("labels", {}),
            deleted_at=datetime.fromisoformat(deleted_at) if deleted_at else None,
            held_by="; ".join(_held(raw)) if deleted_at else "",
        )

    def is_stuck(self, now: datetime) -> bool:
        """Say whether its deletion has taken longer than any that will end by itself."""
        return self.deleted_at is not None and now - self.deleted_at > STUCK_AFTER


def _held(raw: dict[str, Any]) -> list[str]:
    """Return what its conditions say of things that remain, and finalizers of its own."""
    conditions = raw.get("status", {}).get("conditions", [])
    said = [each["message"] for each in conditions if each["status"] == "True" and "message" in each]
    finalizers = raw["metadata"].get("finalizers", [])
    return said + ([f"finalizers of the namespace: {', '.join(finalizers)}"] if finalizers else [])
