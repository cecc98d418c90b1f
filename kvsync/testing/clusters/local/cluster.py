"""A cluster on this machine: processes with loopback addresses of their own, nothing to install.

Pods are simulators behind a fault proxy, the gateway is a process too and finds them in a file that is
replaced as a whole whenever a pod comes, goes or moves.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from kvsync.errors import UnknownName
from kvsync.testing.clusters.cluster import GATEWAY, Option, PodHandle, flags
from kvsync.testing.clusters.endpoints import GatewayView, answers
from kvsync.testing.clusters.local.addresses import Address, LoopbackBlock
from kvsync.testing.clusters.local.fault_proxy import FaultProxy
from kvsync.testing.clusters.local.pod import READY_TIMEOUT_S, LocalPod
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.oracle.announcements import Announcement, announcements
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read
from kvsync.testing.results.whole import write_whole


@dataclass(slots=True)
class _Deployment:
    options: Mapping[str, Option]
    started: int = 0
    pods: list[str] = field(default_factory=list)


class LocalCluster:
    """A Cluster of processes, made by LocalProvider; `settings` are those of the gateway."""

    def __init__(
        self,
        name: str,
        *,
        run_dir: Path,
        ledger: Ledger,
        seed: int,
        settings: Mapping[str, object],
        outlive: bool = False,
    ) -> None:
        self.name, self._outlive = name, outlive
        self._ledger, self._seed, self._settings = ledger, seed, settings
        self._logs, self._histories = run_dir / "logs" / name, run_dir / "history" / name
        self._folder = run_dir / "clusters" / name
        # Not from the seed alone: two runs with one seed at the same time must not meet.
        self._addresses, self._proxy = LoopbackBlock(f"{seed} {run_dir} {name}"), FaultProxy(seed)
        self._deployments: dict[str, _Deployment] = {}
        self._pods: dict[str, LocalPod] = {}
        self._programs: dict[str, Program] = {}
        self._front = self._addresses.next()
        self._generation = 1  # of pods, since all were deleted last

    @property
    def gateway_url(self) -> str:
        """See Cluster."""
        return f"http://{self._front.host}:{self._front.port}"

    def gateways(self) -> list[str]:
        """See Cluster."""
        return [self.gateway_url]

    def open(self) -> Self:
        """Start the proxy and, without waiting for it, the gateway: pods start at the same time."""
        for folder in (self._folder, self._histories):
            folder.mkdir(parents=True, exist_ok=True)
        self._list_pods()
        self._proxy.open()
        self._start_gateway()
        return self

    def deploy(self, model: str, replicas: int = 1, **options: Option) -> list[PodHandle]:
        """See Cluster; options are flags of `kvsync simulate`."""
        self._plan(model, options)
        return self.scale(model, replicas)

    def deploy_each(self, models: Mapping[str, Mapping[str, Option]]) -> list[PodHandle]:
        """See Cluster."""
        for model, options in models.items():
            self._plan(model, options)
        pods = [self._add_pod(model) for model in models]
        self._start(pods)
        return [pod.handle for pod in pods]

    def scale(self, model: str, replicas: int) -> list[PodHandle]:
        """See Cluster."""
        deployment = self._deployment(model)
        surplus, deployment.pods[replicas:] = deployment.pods[replicas:], []
        self._remove(reversed(surplus))
        self._start([self._add_pod(model) for _ in range(replicas - len(deployment.pods))])
        return [self._pods[name].handle for name in deployment.pods]

    def delete_pod(self, name: str) -> PodHandle:
        """See Cluster."""
        model = self.pod(name).model
        self._deployment(model).pods.remove(name)
        self._remove([name])
        replacement = self._add_pod(model)
        self._start([replacement])
        return replacement.handle

    def kill_pod(self, name: str) -> None:
        """Delete a pod without grace; another takes its place, which this does not wait for."""
        pod = self._pods.pop(name)
        self._programs.pop(name)
        self._deployment(pod.model).pods.remove(name)
        pod.leave()
        replacement = self._add_pod(pod.model)
        replacement.come_back()
        self._list_pods()

    def restart_pod(self, name: str) -> PodHandle:
        """See Cluster."""
        self.pod(name).kill()
        return self.revive_pod(name)

    def revive_pod(self, name: str) -> PodHandle:
        """Start the engine of a killed pod again, behind the same address."""
        self._start([self.pod(name)])
        return self.pod(name).handle

    def move_pod(self, name: str) -> PodHandle:
        """See Cluster."""
        self.pod(name).leave()
        return self.revive_pod(name)

    def pod(self, name: str) -> LocalPod:
        """Return a pod with its process and listeners, for faults. Raises UnknownName."""
        if name not in self._pods:
            raise UnknownName("pod", name, self._pods)
        return self._pods[name]

    def pods(self) -> list[PodHandle]:
        """See Cluster."""
        return [pod.handle for pod in self._pods.values()]

    def announced(self) -> list[Announcement]:
        """See Cluster."""
        return announcements(
            read(sorted(self._histories.glob(f"{self._generation}-*.jsonl")), only={"publish"})
        )

    def logs(self, name: str) -> str:
        """See Cluster. Raises UnknownName."""
        if name not in self._programs:
            raise UnknownName("program", name, self._programs)
        return self._programs[name].tail()

    def restart_gateway(self) -> None:
        """See Cluster."""
        self._programs[GATEWAY].kill()
        self._start_gateway()
        self._await_gateway()

    def roll_gateway(self, **settings: object) -> None:
        """Replace the gateway by one with these settings, too, which is ready before the old one ends.

        It has another address. Raises ClusterError when it does not get ready.
        """
        before = self._programs[f"{GATEWAY} before"] = self._programs.pop(GATEWAY)
        self._front, self._settings = self._addresses.next(), {**self._settings, **settings}
        self._start_gateway()
        self._await_gateway()
        ready = partial(answers, f"{self.gateway_url}/readyz")
        wait_for(ready, what="the new gateway is ready", timeout_s=READY_TIMEOUT_S)
        before.stop()

    def clear(self) -> None:
        """See Cluster."""
        self._remove(list(self._pods))
        self._deployments.clear()
        self._generation += 1

    def describe(self) -> str:
        """Say where a person can look at the cluster, past the fault proxy that ends with this process."""
        pods = [
            f"pod {pod.name}: {pod.direct_url}, {pod.handle.admin_url}/blocks" for pod in self._pods.values()
        ]
        return "\n".join([f"gateway: {self.gateway_url}/status, {self.gateway_url}/index/dump", *pods])

    def close(self) -> None:
        """See Cluster."""
        with ExitStack() as closing:  # each is closed, last first, whatever becomes of the others
            closing.callback(self._proxy.close)
            for program in self._programs.values():
                closing.callback(program.stop)
            for pod in self._pods.values():
                closing.callback(pod.close)
            for program in self._programs.values():
                program.ask_to_end()
            self._pods.clear()

    def _plan(self, model: str, options: Mapping[str, Option]) -> None:
        if model in self._deployments:
            raise ClusterError(f"{model} is deployed in {self.name} already; scale it")
        self._deployments[model] = _Deployment(options)

    def _deployment(self, model: str) -> _Deployment:
        if model not in self._deployments:
            raise UnknownName("deployment", model, self._deployments)
        return self._deployments[model]

    def _add_pod(self, model: str) -> LocalPod:
        deployment = self._deployment(model)
        name = f"{model}-{deployment.started}"
        deployment.started += 1
        deployment.pods.append(name)
        self._pods[name] = LocalPod(
            name, model, addresses=self._addresses, proxy=self._proxy, launch=self._launch
        )
        return self._pods[name]

    def _start(self, pods: Sequence[LocalPod]) -> None:
        """Start engines side by side, list the pods, and wait until the gateway would use all there are."""
        for pod in pods:
            pod.start()
        for pod in pods:
            pod.await_ready()
        self._list_pods()
        self._await_gateway()

    def _remove(self, names: Iterable[str]) -> None:
        """Unlist pods, end their engines side by side, and wait until the gateway knows."""
        pods = [self._pods.pop(name) for name in names]
        self._list_pods()
        for pod in pods:
            if program := self._programs.pop(pod.name, None):
                program.ask_to_end()
        with ExitStack() as closing:  # all of them, also when one had ended by itself
            for pod in reversed(pods):
                closing.callback(pod.close)
        self._await_gateway()

    def _launch(self, name: str, model: str, address: Address) -> Program:
        options: dict[str, Option] = {
            "name": name,
            "model": model,
            "host": address.host,
            "port": address.port,
            "event_port": address.event_port,
            "replay_port": address.replay_port,
            "admin_port": address.admin_port,
            "seed": self._seed,
            "history": str(self._histories / f"{self._generation}-{name}.jsonl"),
            **self._deployment(model).options,
        }
        return self._program(name, ["simulate", *flags(options)])

    def _start_gateway(self) -> None:
        config = self._folder / "gateway.json"
        settings = {
            "host": self._front.host,
            "port": self._front.port,
            "pods_file": str(self._pods_file),
            "clients": {"drain_s": 3},  # less than a program has before it is killed
            **self._settings,
        }
        config.write_text(json.dumps(settings, indent=1))
        self._program(GATEWAY, ["gateway", "--config", str(config)])

    def run_beside(self, name: str, module: str, arguments: Sequence[str]) -> Program:
        """Start a Python module as a program that ends with the cluster, if it was not stopped before."""
        argv = [sys.executable, "-m", module, *arguments]
        log = self._logs / f"{name}.log"
        self._programs[name] = Program(f"{self.name}/{name}", argv, log=log, ledger=self._ledger)
        return self._programs[name]

    def _program(self, name: str, command: Sequence[str]) -> Program:
        lifeline = [] if self._outlive else ["--exit-with-stdin"]
        return self.run_beside(name, "kvsync", [*command, *lifeline])

    @property
    def _pods_file(self) -> Path:
        return self._folder / "pods.json"

    def _list_pods(self) -> None:
        listed = {"pods": [asdict(pod.listed) for pod in self._pods.values()]}
        write_whole(self._pods_file, json.dumps(listed, indent=1))

    def _await_gateway(self) -> None:
        expected = {pod.name: pod.listed.host for pod in self._pods.values()}
        gateway, view = self._programs[GATEWAY], GatewayView(self.gateway_url)
        used: Mapping[str, str] = {}

        def uses_expected() -> bool:
            nonlocal used
            gateway.check()
            with suppress(ClusterError):  # it is still starting
                used = view.routable()
                return used == expected
            return False

        try:
            wait_for(
                uses_expected,
                what=f"the gateway uses {', '.join(expected) or 'no pod'}",
                timeout_s=READY_TIMEOUT_S,
                last_seen=lambda: used,
            )
        except WaitTimeout as exc:
            raise ClusterError(f"{exc}; its log ends with:\n{gateway.tail()}") from exc


class LocalProvider:
    """Creates local clusters, each with its logs and histories in a folder of the run named after it.

    With `outlive` their processes do not end with this one: the ledger knows them, and the caller
    must end them.
    """

    def __init__(self, *, run_dir: Path, ledger: Ledger, seed: int, outlive: bool = False) -> None:
        self._run_dir, self._ledger, self._seed, self._outlive = run_dir, ledger, seed, outlive
        self._clusters: dict[str, LocalCluster] = {}

    def create(self, name: str, **settings: object) -> LocalCluster:
        """See ClusterProvider; settings are fields of the gateway's configuration. Raises ClusterError."""
        if name in self._clusters:
            raise ClusterError(f"a cluster named {name} exists already")
        cluster = LocalCluster(
            name,
            run_dir=self._run_dir,
            ledger=self._ledger,
            seed=self._seed,
            settings=settings,
            outlive=self._outlive,
        )
        self._clusters[name] = cluster.open()
        return cluster

    def delete(self, name: str) -> None:
        """See ClusterProvider."""
        if cluster := self._clusters.pop(name, None):
            cluster.close()

    def names(self) -> list[str]:
        """See ClusterProvider."""
        return list(self._clusters)

    def close(self) -> None:
        """See ClusterProvider; nothing is shared, and what is deleted is gone at once."""
