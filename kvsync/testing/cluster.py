"""What scenarios need of a cluster, whoever provides it: engines that come, go and move, and a gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kvsync.testing.announcements import Announcement

Option = str | int | float | tuple[str, ...]
"""The value of an engine option; the names are those of SimulatorOptions, such as `capacity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHandle:
    """A pod as a scenario sees it: `url` is where clients reach it, `admin_url` its simulator's interface."""

    name: str
    model: str
    url: str
    admin_url: str


class Cluster(Protocol):
    """Engines of any number of models and one gateway that routes to them.

    A method that changes pods returns when the gateway knows of the change, and raises ClusterError, with
    the end of the pod's log, when that takes too long.
    """

    name: str

    @property
    def gateway_url(self) -> str:
        """Where clients reach the gateway."""

    def deploy(self, model: str, replicas: int = 1, **options: Option) -> list[PodHandle]:
        """Start engines of a model and keep their number; returns this model's pods."""

    def deploy_each(self, models: Mapping[str, Mapping[str, Option]]) -> list[PodHandle]:
        """Start one engine of each of several models, side by side, each with options of its own."""

    def scale(self, model: str, replicas: int) -> list[PodHandle]:
        """Start or delete pods, the youngest first, until so many are there; returns this model's pods."""

    def delete_pod(self, name: str) -> PodHandle:
        """Delete a pod; returns the one that takes its place under another name and address."""

    def restart_pod(self, name: str) -> PodHandle:
        """Kill a pod's engine and start it again: same name and address, empty cache."""

    def move_pod(self, name: str) -> PodHandle:
        """Let a pod come back at another address: same name, empty cache."""

    def restart_gateway(self) -> None:
        """Kill the gateway and start it again: same address, empty index."""

    def pods(self) -> Sequence[PodHandle]:
        """Return the pods there are, in the order they were started."""

    def announced(self) -> list[Announcement]:
        """Return what pods published since all were deleted last, in order; nothing if it is not recorded."""

    def logs(self, name: str) -> str:
        """Return the end of what a pod, or "gateway", wrote."""

    def clear(self) -> None:
        """Delete all pods and what is known of them; the gateway stays."""

    def close(self) -> None:
        """Delete everything."""


class ClusterProvider(Protocol):
    """Creates and deletes clusters."""

    def create(self, name: str) -> Cluster:
        """Create a cluster with a gateway and no pods."""

    def delete(self, name: str) -> None:
        """Delete a cluster; one that does not exist is no error."""

    def names(self) -> Sequence[str]:
        """Return which clusters there are."""
