"""Makes and deletes the Kubernetes clusters of a run, each a namespace of its own."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path

from kvsync.testing.clusters.evidence import INTERRUPTED_S, WITHIN_S, collect, new_folder
from kvsync.testing.clusters.kubernetes.api import KubernetesApi
from kvsync.testing.clusters.kubernetes.cluster import INTERVAL_S, KubernetesCluster, Site
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import Manifests
from kvsync.testing.clusters.kubernetes.proxy import KubernetesProxy
from kvsync.testing.errors import ClusterError, InfrastructureError, WaitTimeout
from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import EVIDENCE

NAME_LENGTH, DIGEST_LENGTH = 63, 8

UNCUT_LENGTH = NAME_LENGTH - DIGEST_LENGTH - 1

STUCK = (
    "see in the conditions of `kubectl get namespace NAME --output=yaml` what holds it; "
    "delete that or take its finalizers away; then `kvsync-ci clean`"
)
"""How to mend a namespace that does not go."""


class KubernetesProvider:
    """Creates and deletes clusters, each in a namespace of its own that the ledger knows."""

    def __init__(self, machine: Machine, *, run_dir: Path, ledger: Ledger, seed: int) -> None:
        self._ledger, self._seed = ledger, seed
        self._evidence, self._logs = run_dir / "evidence", run_dir / "logs"
        self._history = History(run_dir / "history" / "pods.jsonl", proc="kubernetes")
        proxy = KubernetesProxy(
            machine,
            namespaces=namespaces_of(machine.namespace_prefix, ledger.run),
            log=self._logs / "kubectl-proxy.log",
            ledger=ledger,
        )
        self._site = Site(
            machine=machine,
            api=KubernetesApi(machine),
            proxy=proxy,
            manifests=Manifests.read(Path(machine.manifests)),
            ledger=ledger,
        )
        self._clusters: dict[str, KubernetesCluster] = {}
        self._entries: dict[str, LedgerEntry] = {}

    def create(self, name: str, **settings: object) -> KubernetesCluster:
        """See ClusterProvider; settings are fields of the gateway's configuration. Raises ClusterError."""
        if name in self._clusters:
            raise ClusterError(f"a cluster named {name} exists already")
        machine = self._site.machine
        namespace = namespace_of(machine.namespace_prefix, self._ledger.run, name)
        self._entries[namespace] = self._ledger.intend("namespace", namespace, **machine.access)
        cluster = KubernetesCluster(
            name, namespace=namespace, site=self._site, seed=self._seed, settings=settings
        )
        self._clusters[name] = cluster
        try:
            cluster.open(self._ledger.run)
        except BaseException as exc:
            self._keep_evidence(cluster, exc)
            with suppress(ClusterError):  # what failed first says more; `close` waits for the rest
                self.delete(name)
            raise
        return cluster

    def _keep_evidence(self, cluster: KubernetesCluster, error: BaseException) -> None:
        """Write down what a cluster looks like that could not be made; a note of the error says where."""
        folder = new_folder(self._evidence / cluster.name)
        error.add_note(f"{EVIDENCE}{folder}")
        collect(cluster, folder, INTERRUPTED_S if isinstance(error, KeyboardInterrupt) else WITHIN_S)

    def delete(self, name: str) -> None:
        """See ClusterProvider; returns while Kubernetes deletes it, and `close` waits for that."""
        if cluster := self._clusters.pop(name, None):
            self._note_events(cluster.namespace)
            self._keep_logs(cluster)
            cluster.close()

    def _keep_logs(self, cluster: KubernetesCluster) -> None:
        """Keep what its pods wrote, which goes with them; evidence of failures has more."""
        folder = self._logs / cluster.name
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(ClusterError):
            for pod, log in cluster.last_logs():
                (folder / f"{pod}.log").write_text(log, encoding="utf-8")

    def _note_events(self, namespace: str) -> None:
        """Keep what happened to its pods for the report's time line, where Kubernetes tells it."""
        clock_s = time.time() - time.monotonic()
        with suppress(ClusterError):
            for event in self._site.api.pod_events(namespace):
                at = float(str(event["wall"]))
                self._history.append(
                    f="pod", t_mono=at - clock_s, wall=at, pod=event["pod"], event=event["event"]
                )

    def names(self) -> list[str]:
        """See ClusterProvider."""
        return list(self._clusters)

    def close(self) -> None:
        """Wait until every deleted cluster is gone, and end the proxy. Those not deleted stay.

        Raises InfrastructureError when one stays that was deleted.
        """
        kept = {cluster.namespace for cluster in self._clusters.values()}

        def left() -> list[str]:
            there = set(self._site.api.namespaces(""))
            for namespace in self._entries.keys() - kept - there:
                self._ledger.released(self._entries.pop(namespace))
            return sorted(self._entries.keys() - kept)

        try:
            wait_for(
                lambda: not left(),
                what="the namespaces of deleted clusters are gone",
                timeout_s=self._site.machine.delete_timeout_s,
                interval_s=INTERVAL_S,
                last_seen=lambda: f"{', '.join(left())}; {STUCK}",
            )
        except WaitTimeout as exc:
            raise InfrastructureError(str(exc)) from exc
        finally:
            self._site.proxy.close()


def namespace_of(prefix: str, run: str, name: str) -> str:
    """Return the namespace of a run's cluster; of a name that is too long the end becomes a digest of it."""
    whole = f"{prefix}-{run}-{name}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:DIGEST_LENGTH]
    return whole if len(whole) <= NAME_LENGTH else f"{whole[:UNCUT_LENGTH]}-{digest}"


def namespaces_of(prefix: str, run: str) -> str:
    """Return how the names of all namespaces of a run begin."""
    return f"{prefix}-{run}-"[:UNCUT_LENGTH]
