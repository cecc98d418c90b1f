"""What scenarios need of a cluster, whatever provides it: engines that come, go and move, and a gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kvsync.testing.oracle.announcements import Announcement

PortName = Literal["http", "events", "replay"]
"""What a pod listens for: requests, subscribers, replay requests."""


PORTS: tuple[PortName, ...] = ("http", "events", "replay")


Option = str | int | float | tuple[str, ...]
"""The value of an engine option; the names are those of SimulatorOptions, such as `capacity`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHandle:
    """A pod as a scenario sees it: `url` is where clients reach it, `admin_url` its simulator's interface."""

    name: str
    model: str
    url: str
    admin_url: str


GATEWAY = "gateway"
"""The name under which the gateway's log is asked for."""


class Cluster(Protocol):
    """Engines of any number of models and one gateway that routes to them.

    A method that changes pods returns when the gateway knows of the change, and raises ClusterError, with
    the end of the pod's log, when that takes too long.
    """

    name: str

    @property
    def gateway_url(self) -> str:
        """Where clients send requests; some gateway answers."""

    def gateways(self) -> Sequence[str]:
        """Return where each gateway says what it knows: status and index, also while it is not ready."""

    def deploy(self, model: str, replicas: int = 1, **options: Option) -> list[PodHandle]:
        """Start engines of a model and keep their number; returns this model's pods."""

    def deploy_each(self, models: Mapping[str, Mapping[str, Option]]) -> list[PodHandle]:
        """Start one engine of each of several models, side by side, each with options of its own."""

    def scale(self, model: str, replicas: int) -> list[PodHandle]:
        """Start or delete pods, until there are this many; returns this model's pods, the oldest first."""

    def delete_pod(self, name: str) -> PodHandle:
        """Delete a pod; returns the one that takes its place under another name and address."""

    def restart_pod(self, name: str) -> PodHandle:
        """Kill a pod's engine and start it again: same name and address, empty cache."""

    def move_pod(self, name: str) -> PodHandle:
        """Let a pod come back at another address, with an empty cache; its name may be another one, too."""

    def restart_gateway(self) -> None:
        """Kill the gateway and start it again: same address, empty index."""

    def pods(self) -> Sequence[PodHandle]:
        """Return the pods there are, in the order they were started."""

    def announced(self) -> list[Announcement]:
        """Return what the pods there are published, each in order; nothing if it is not recorded."""

    def logs(self, name: str) -> str:
        """Return the end of what a pod, or "gateway", wrote."""

    def clear(self) -> None:
        """Delete all pods and what is known of them; the gateway stays."""

    def describe(self) -> str:
        """Say where a person can look at it."""

    def close(self) -> None:
        """Delete everything."""


class ClusterProvider(Protocol):
    """Creates and deletes clusters."""

    def create(self, name: str, **settings: object) -> Cluster:
        """Create a cluster with a gateway, which has these settings, and no pods."""

    def delete(self, name: str) -> None:
        """Delete a cluster; does nothing when there is none."""

    def names(self) -> Sequence[str]:
        """Return which clusters there are."""

    def close(self) -> None:
        """Wait until what was deleted is gone, and give up what the clusters shared."""


def flags(options: Mapping[str, Option]) -> list[str]:
    """Render engine options as flags; one with several values is a flag repeated in the singular."""
    flags = []
    for name, value in options.items():
        if isinstance(value, tuple):
            flags += [part for each in value for part in (_flag(name.removesuffix("s")), each)]
        else:
            flags += [_flag(name), str(value)]
    return flags


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
