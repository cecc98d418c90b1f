"""CPU and memory stress in an engine's container: a program that is executed there and held by its input."""

import time
from collections.abc import Collection

from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.faults.fault import CpuStress, MemoryStress
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.node.node import Process
from kvsync.testing.faults.node.pod import NodePod
from kvsync.testing.faults.stressing import PROGRAM, arguments, burning, holding, require_memory
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.tools import kubectl


class NodeStress:
    """Processes that burn CPU or hold memory while the fault acts.

    They end with their input, which goes with `kubectl exec`, which goes with us.
    """

    def __init__(self, cluster: KubernetesCluster, pod: NodePod, fault: CpuStress | MemoryStress) -> None:
        self._cluster, self._pod, self._fault = cluster, pod, fault
        self._program: Program | None = None
        self._began = 0.0

    def inject(self) -> None:
        """Start them. Raises NotRun when the machine has too little memory."""
        if isinstance(self._fault, MemoryStress):
            require_memory(self._fault.size_bytes)
        site, name = self._cluster.site, f"stress-{self._pod.name}"
        execute = ["exec", "--stdin", f"--namespace={self._cluster.namespace}", self._pod.name, "--"]
        argv = [*execute, "python", "-m", PROGRAM, *arguments(self._fault)]
        self._began = time.monotonic()
        self._program = Program(
            name,
            kubectl(site.machine.kubeconfig, site.machine.context, *argv),
            log=site.ledger.path.with_name("logs") / f"{name}.log",
            ledger=site.ledger,
        )

    def recover(self) -> None:
        """End them."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def measure(self) -> Effect:
        """Ask the node's kernel what they use, or would use if others did not keep all cores busy."""
        stress = [p for p in self._pod.node.processes(self._pod.state().container_id) if PROGRAM in p.command]
        if self._program is None:
            return Effect(bool(stress), f"stress processes: {[p.pid for p in stress] or 'none'}")
        if not self._program.is_running:
            return Effect(False, f"the stress ended: {self._program.tail().strip()}")
        starters = {process.pid for process in stress}
        workers = [process for process in stress if process.parent in starters]
        return self._using(workers) if workers else Effect(False, "no stress process is there yet")

    def _using(self, workers: Collection[Process]) -> Effect:
        match self._fault:
            case CpuStress(workers=count, load=load):
                times_s = self._pod.node.cpu_s(worker.pid for worker in workers)
                use, wait = (each / (time.monotonic() - self._began) for each in times_s)
                return burning(len(workers), use, wait, count * load)
            case MemoryStress(size_bytes=size_bytes):
                held = sum(worker.resident_bytes for worker in workers)
                return holding(len(workers), held, size_bytes)
