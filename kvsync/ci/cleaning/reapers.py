"""Removes what a run left behind: each kind of ledger entry in its own way, in an order that works for all.

The facts of each kind, which its maker writes down and its reaper needs:

    process          pid, create_time
    kind-cluster     kubeconfig; ready: once it is complete
    network-rule     node: the container of the Kind node; undo: the command that undoes it, run in that
    custom-resource  kubeconfig, context, kind_cluster, group, version, plural, namespace
    namespace        kubeconfig, context, kind_cluster
    cordon           kubeconfig, context, kind_cluster
    node-image       kind_cluster: a Kind cluster that stays, on whose nodes the image was loaded
    container-state  undo: docker's words, which the container's name follows
    container, image, path: none, the name says everything
    database, bucket: none; they are on a server of the owner's
    docker           none: it is not a thing, but says that docker did not answer; see labelled

An empty kubeconfig or context leaves the choice to kubectl; `kind_cluster` is empty for a cluster that is not
Kind's. Processes go first, because they could go on creating the rest. A Kind cluster goes before what is in
it, which goes with it. Chaos Mesh's resources go before their namespaces, because their controller needs the
pods to undo what it did to them.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from kvsync.ci.chaos.containers import undo_container
from kvsync.ci.cleaning.labelled import ANSWER_S, UNKNOWN
from kvsync.errors import UnknownName
from kvsync.testing.clusters.kubernetes.machine import CLUSTER_LABEL
from kvsync.testing.clusters.kubernetes.manifests import RUN_LABEL
from kvsync.testing.clusters.kubernetes.namespace import Namespace
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes import living
from kvsync.testing.processes.ledger import LedgerEntry
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, Tools, kubectl
from kvsync.testing.processes.wait import wait_for

KINDS = (
    "process",
    "kind-cluster",
    "network-rule",
    "custom-resource",
    "namespace",
    "cordon",
    "node-image",
    "container-state",
    "container",
    "image",
    UNKNOWN,
    "path",
    "database",
    "bucket",
)
"""In the order of their removal."""

REMOVAL_S = 60.0
"""For Docker to remove containers or an image. Measured: 4 s for a cluster of three nodes."""

NAMESPACE_S = 120.0
"""For a namespace to be gone: its pods may use their grace periods."""

STUCK_S = 5.0
"""For a namespace that has been stuck for a long time."""

RESOURCE_S = 20.0
"""For a custom resource to be gone before its finalizer is forced."""

FORCE_S = 5.0
"""For it to be gone after that, and again once its finalizers are removed."""

FORCED = "chaos-mesh.chaos-mesh.org/cleanFinalizer=forced"
"""Makes Chaos Mesh let go of a resource that it could not undo, such as a fault in a dead pod."""


def in_order(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Return the entries, given newest first, in the order of their removal. Pure.

    The oldest process goes first, because it started the others and could start more; among all other kinds,
    the newest goes first.
    """
    entries = list(entries)
    processes = [entry for entry in reversed(entries) if entry.kind == "process"]
    others = [entry for entry in entries if entry.kind != "process"]
    return processes + sorted(others, key=lambda e: KINDS.index(e.kind) if e.kind in KINDS else len(KINDS))


def is_inside(entry: LedgerEntry, cluster: LedgerEntry) -> bool:
    """Say whether an entry is in a Kind cluster, and so goes with it. Pure."""
    match entry.kind:
        case "network-rule":
            return str(entry.facts.get("node", "")).startswith(f"{cluster.name}-")
        case "custom-resource" | "namespace" | "cordon" | "node-image":
            return entry.facts.get("kind_cluster") == cluster.name
    return False


def reached_with(entry: LedgerEntry, others: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Return those of the others that are reached with the entry, if it is the path of a kubeconfig. Pure."""
    return [other for other in others if entry.kind == "path" and other.facts.get("kubeconfig") == entry.name]


def reap(entry: LedgerEntry, tools: Tools = ON_PATH) -> bool:
    """Remove what an entry stands for; False when it was already gone.

    Raises UnknownName for a kind that is not in KINDS, WaitTimeout when a process survives SIGKILL or Docker
    goes on making a container, ClusterError when something is still there or cannot be asked, OSError for a
    path.
    """
    match entry.kind:
        case "process" | "path":
            return living.reap(entry)
        case "kind-cluster":
            return _remove(tools, lambda: _nodes(tools, entry.name), "rm", "--force", "--volumes")
        case "container":
            named = ("ps", "--all", "--quiet", f"--filter=name=^{re.escape(entry.name)}$")
            return _remove(tools, lambda: _docker(tools, *named), "rm", "--force", "--volumes")
        case "image" if entry.name.startswith("sha256:"):
            nameless = ("image", "ls", "--filter=dangling=true", "--no-trunc", "--quiet")
            return _remove(
                tools,
                lambda: [each for each in _docker(tools, *nameless) if each == entry.name],
                *("image", "rm", "--force"),
            )
        case "image":
            tagged = ("image", "ls", f"--filter=reference={entry.name}", "--format={{.Repository}}:{{.Tag}}")
            return _remove(tools, lambda: _docker(tools, *tagged), "image", "rm", "--force")
        case "docker":
            _docker(tools, "ps", "--quiet")
            return False
        case "network-rule":
            # Imported where there is one: it brings an HTTP client, which takes as long as all the rest here.
            from kvsync.testing.faults.node.changes import undo

            return undo(entry, tools)
        case "container-state":
            return undo_container(entry, tools)
        case "database" | "bucket":
            raise ClusterError("its server's password is not kept; remove it there")
        case "custom-resource" | "namespace" | "cordon" | "node-image" as kind:
            return not _is_gone(entry.facts.get("kind_cluster"), tools) and _INSIDE[kind](entry, tools)
    raise UnknownName("kind of ledger entry", entry.kind, KINDS)


def _uncordon(entry: LedgerEntry, tools: Tools) -> bool:
    """Uncordon a node, so that it takes new pods again."""
    argv = kubectl(entry.facts.get("kubeconfig"), entry.facts.get("context"), "uncordon", entry.name)
    answer = tools.ask(*argv, timeout_s=ANSWER_S)
    if "(NotFound)" in answer.errors:
        return False
    return "already" not in _must(answer, "cannot uncordon the node").output


def _docker(tools: Tools, *words: str) -> list[str]:
    """Return the lines that docker prints. Raises ClusterError."""
    return _must(tools.ask("docker", *words, timeout_s=ANSWER_S), "cannot ask docker").lines


def _nodes(tools: Tools, cluster: str) -> list[str]:
    return _docker(tools, "ps", "--all", "--quiet", f"--filter=label={CLUSTER_LABEL}={cluster}")


def _is_gone(cluster: object, tools: Tools) -> bool:
    """Say whether the Kind cluster that something was in has been deleted."""
    return bool(cluster) and not _nodes(tools, str(cluster))


def _remove(tools: Tools, listing: Callable[[], list[str]], *removal: str) -> bool:
    """Remove what is listed until nothing is.

    Docker lists a container that it is still making and says that it removed it, although it did not.
    """
    found = bool(listing())

    def is_gone() -> bool:
        if left := listing():
            answer = tools.ask("docker", *removal, *left, timeout_s=REMOVAL_S)
            if "already in progress" not in answer.errors:
                _must(answer, "docker cannot remove it")
        return not left

    wait_for(is_gone, what="docker has removed it", timeout_s=REMOVAL_S, interval_s=0.5)
    return found


def _remove_from_nodes(entry: LedgerEntry, tools: Tools) -> bool:
    """Remove every name of an image that was loaded on the nodes: a single one left would keep the image."""
    from kvsync.testing.faults.node.node import CONTAINERS  # as above

    found = False
    for node in _nodes(tools, str(entry.facts.get("kind_cluster"))):
        images = ("docker", "exec", node, *CONTAINERS, "images")
        listed = tools.ask(*images, "ls", timeout_s=ANSWER_S)
        if names := names_of(_must(listed, f"cannot look at the images of node {node}").lines, entry.name):
            removed = tools.ask(*images, "rm", *names, timeout_s=REMOVAL_S)
            found = _must(removed, f"cannot remove it from node {node}").ok
    return found


def names_of(listed: Iterable[str], image: str) -> list[str]:
    """Return all names that containerd's list has for one of Docker's images, found by its digest. Pure."""
    rows = [row for line in listed if len(row := line.split()) > 2]
    digests = {digest for name, _, digest, *_ in rows if name == f"docker.io/library/{image}"}
    return [name for name, _, digest, *_ in rows if digest in digests]


class _Kubectl:
    """kubectl for the cluster of an entry."""

    def __init__(self, entry: LedgerEntry, tools: Tools) -> None:
        self._chosen, self._tools = (entry.facts.get("kubeconfig"), entry.facts.get("context")), tools

    def ask(self, *words: str) -> ToolAnswer:
        """Ask something that is answered at once."""
        words = (f"--request-timeout={ANSWER_S:.0f}s", *words)
        return self._tools.ask(*kubectl(*self._chosen, *words), timeout_s=ANSWER_S + 5)

    def exists(self, *words: str) -> ToolAnswer | None:
        """Return an object as JSON, None if there is none. Raises ClusterError."""
        answer = self.ask("get", *words, "--ignore-not-found", "--output=json")
        if "the server doesn't have a resource type" in answer.errors:
            return None
        return answer if _must(answer, "cannot ask the API server").lines else None

    def delete(self, *words: str, timeout_s: float) -> ToolAnswer:
        """Delete an object and wait until it is gone."""
        words = ("delete", *words, "--ignore-not-found", f"--timeout={timeout_s:.0f}s")
        return self._tools.ask(*kubectl(*self._chosen, *words), timeout_s=timeout_s + 10)


def _delete_namespace(entry: LedgerEntry, tools: Tools) -> bool:
    """Delete a namespace, but only if it bears the label of the entry's run."""
    server = _Kubectl(entry, tools)
    if not (found := server.exists("namespace", entry.name)):
        return False
    namespace = Namespace.read(found.document)
    if (owner := namespace.labels.get(RUN_LABEL)) != entry.run:
        raise ClusterError(f"it belongs to {f'run {owner}' if owner else 'no run'}, and is left alone")
    timeout_s = STUCK_S if namespace.is_stuck(datetime.now(UTC)) else NAMESPACE_S
    deleted = server.delete("namespace", entry.name, timeout_s=timeout_s)
    if still := server.exists("namespace", entry.name):
        stuck = Namespace.read(still.document)
        if not stuck.deleted_at:
            raise ClusterError(f"cannot be deleted: {deleted.reason}")
        held = stuck.held_by or deleted.reason
        raise ClusterError(f"stuck in Terminating: {held}; delete what holds it or remove its finalizers")
    return True


def _delete_resource(entry: LedgerEntry, tools: Tools) -> bool:
    """Delete a custom resource; if that does not finish, tell Chaos Mesh to let it go, or force it."""
    match entry.facts:
        case {"group": group, "version": version, "plural": plural, "namespace": namespace}:
            which = (f"{plural}.{version}.{group}", entry.name, f"--namespace={namespace}")
        case _:
            raise ClusterError(f"the ledger does not say where it is: {dict(entry.facts)}")
    server = _Kubectl(entry, tools)
    if not server.exists(*which):
        return False
    server.delete(*which, timeout_s=RESOURCE_S)
    if server.exists(*which):
        server.ask("annotate", *which, "--overwrite", FORCED)
        server.delete(*which, timeout_s=FORCE_S)
    if server.exists(*which):
        # That had no effect: the controller may be dead.
        patched = server.ask("patch", *which, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
        deleted = server.delete(*which, timeout_s=FORCE_S)
        if server.exists(*which):
            raise ClusterError(f"cannot be deleted: {(deleted if patched.ok else patched).reason}")
    return True


def _must(answer: ToolAnswer, what: str) -> ToolAnswer:
    if not answer.ok:
        raise ClusterError(f"{what}: {answer.reason}")
    return answer


_INSIDE = {
    "custom-resource": _delete_resource,
    "namespace": _delete_namespace,
    "cordon": _uncordon,
    "node-image": _remove_from_nodes,
}
"""What removes each kind of thing that is in a cluster."""
