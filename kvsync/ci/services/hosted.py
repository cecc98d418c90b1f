"""A server of an image of the owner's: in a pod where the run has a cluster, or else in a container."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from kvsync.ci.services.container import container
from kvsync.ci.services.pods.manifest import ServicePod
from kvsync.ci.services.pods.pod import pod
from kvsync.ci.services.pods.task import PodTask
from kvsync.ci.services.server import GRACE_S, ServerCommand
from kvsync.ci.services.service import Surroundings


class Host(Protocol):
    """What runs an image."""

    @property
    def source(self) -> str:
        """What it is, and of which image."""

    def server(self, answer: Callable[[], str], *, grace_s: float = GRACE_S) -> ServerCommand:
        """Return the command of the server in it."""


def hosted(
    name: str,
    image: str,
    ports: tuple[int, int],
    around: Surroundings,
    *,
    variables: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    words: Sequence[str] = (),
) -> AbstractContextManager[Host]:
    """Give what is to run an image in the foreground; nothing is left of it afterwards.

    `ports`: of this machine's loopback and inside. `variables` are added to its environment, `files` are
    texts by the paths that they get, and `words` go to the image. Raises NotRun where that cannot be.
    """
    outside, inside = ports
    if around.pods is None:
        return container(image, ports, around, variables=variables or {}, files=files or {}, words=words)
    service = ServicePod(
        name=name,
        run=around.ledger.run,
        stage=around.pods.stage,
        image=image,
        port=inside,
        words=words,
        variables=variables or {},
        files=files or {},
    )
    machine = around.pods.machine
    return pod(PodTask(machine=machine, namespace=machine.services, service=service, local_port=outside))
