"""What the process that runs a pod is told, by a variable. Pure."""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from kvsync.ci.services.pods.manifest import ServicePod
from kvsync.testing.clusters.kubernetes.machine import Machine

VARIABLE = "KVSYNC_SERVICE_POD"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTask:
    """A pod of a service, in a namespace that is there, reached at `local_port` of this machine."""

    machine: Machine
    namespace: str
    service: ServicePod = field(repr=False)
    local_port: int

    def write(self) -> str:
        """Return it as a text."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `write` returned."""
        given = json.loads(text)
        machine, service = Machine(**given.pop("machine")), ServicePod(**given.pop("service"))
        return cls(machine=machine, service=service, **given)
