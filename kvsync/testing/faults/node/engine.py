"""Faults of a pod's engine process, by signals from its node, and of the pod, by the API server.

The kubelet starts again what ends: at once for the first time, and after 10 s, 20 s and so on up to 5 minutes
for a container that ended before within ten minutes (measured: 15 s, 25 s, 44 s, 95 s, 300 s).
"""

from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.faults import effects
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.node.changes import Changes
from kvsync.testing.faults.node.pod import NodePod
from kvsync.testing.faults.node.rules import NodeChange
from kvsync.testing.results.verdicts import NotRun

PAUSE_IMAGE = "/pause:"
"""In the name of the image that keeps pods open, so that every node has it; its program does nothing."""


class KillFault:
    """The pod is deleted, and its Deployment makes another."""

    def __init__(self, cluster: KubernetesCluster, pod: NodePod) -> None:
        self._cluster, self._pod = cluster, pod
        self._before, self._acting = cluster.states(), False

    def inject(self) -> None:
        """Delete it without grace."""
        self._before, self._acting = self._cluster.states(), True
        self._cluster.site.api.delete_pod(self._cluster.namespace, self._pod.name, grace_s=0)

    def recover(self) -> None:
        """Do nothing."""
        self._acting = False

    def measure(self) -> Effect:
        """See whether pod and process are gone and another pod came, or whether all pods are ready."""
        states = self._cluster.states()
        if not self._acting:
            ready = {state.name for state in states if state.ready}
            pods = [pod for pod in self._cluster.pods() if pod.name in ready]
            return effects.missing(pods, len(self._before))
        container = next(state.container_id for state in self._before if state.uid == self._pod.uid)
        runs = self._pod.node.main_pid(container) is not None
        came = {state.name for state in states} - {state.name for state in self._before}
        there = any(state.uid == self._pod.uid for state in states)
        return effects.killed(self._pod.name, there=there, runs=runs, came=came)


class ContainerKillFault:
    """The engine's process gets SIGKILL, and the kubelet starts its container again."""

    def __init__(self, pod: NodePod) -> None:
        self._pod = pod
        self._before: tuple[int, int] | None = None  # restarts and epoch; None unless it was killed

    def inject(self) -> None:
        """Kill it from the node: from inside its container that is impossible."""
        pid = self._pod.main_pid()
        self._before = self._now()
        self._pod.node.run("kill", "-KILL", str(pid))

    def recover(self) -> None:
        """Do nothing."""
        self._before = None

    def measure(self) -> Effect:
        """See whether another engine took its place, or whether one is ready."""
        if self._before is None:
            return self._pod.unwell()
        return effects.restarted("restart", self._before, self._now())

    def _now(self) -> tuple[int, int]:
        return self._pod.state().restarts, self._pod.admin.epoch()


class FailureFault:
    """The pod's container gets an image that does nothing, as with Chaos Mesh, and then its own again.

    The ledger needs no entry: the pod goes with its namespace, and one in its place has the right image.
    """

    def __init__(self, cluster: KubernetesCluster, pod: NodePod) -> None:
        self._cluster, self._pod, self._acting = cluster, pod, False

    def inject(self) -> None:
        """Replace the image, and with it the container; raises NotRun when the node has no such image."""
        images = self._pod.node.images(PAUSE_IMAGE)
        if not images:
            raise NotRun(
                f"{self._pod.node.name} has no image named *{PAUSE_IMAGE}* to put in the engine's place"
            )
        self._acting = True
        self._set_image(images[0])

    def recover(self) -> None:
        """Put the image back."""
        if self._acting:
            self._set_image(self._cluster.site.machine.image)
        self._acting = False

    def measure(self) -> Effect:
        """Ask the engine."""
        if not self._acting:
            return self._pod.unwell()
        said = self._pod.say("http")
        return Effect(said == effects.REFUSED, f"a request is {said}")

    def _set_image(self, image: str) -> None:
        self._cluster.site.api.set_image(self._cluster.namespace, self._pod.name, image)


class PauseFault:
    """The engine's process is stopped."""

    def __init__(self, pod: NodePod, changes: Changes) -> None:
        self._pod, self._changes = pod, changes
        self._pid: int | None = None  # while it is stopped

    def inject(self) -> None:
        """Stop it."""
        pid = self._pod.main_pid()
        stop = NodeChange(do=("kill", "-STOP", str(pid)), undo=("kill", "-CONT", str(pid)))
        self._changes.make(f"pause of {self._pod.name}", [stop])
        self._pid = pid

    def recover(self) -> None:
        """Let it go on."""
        self._changes.undo()
        self._pid = None

    def measure(self) -> Effect:
        """Ask the kernel and the engine."""
        if self._pid is None:
            return self._pod.unwell()
        state = self._pod.node.run("ps", "-o", "stat=", "-p", str(self._pid)).strip()
        said = self._pod.say("http")
        stopped = state.startswith("T")
        evidence = f"process {self._pid} {'is stopped' if stopped else 'runs'}, a request is {said}"
        return Effect(stopped and said == effects.SILENT, evidence)
