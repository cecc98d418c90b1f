"""What on this machine and in its clusters bears the label of a run, whether a ledger knows of it or not.

- A Kind cluster of a run is named `kvsync-<run id>`; kind labels its containers with that name.
- A container or a namespace is labelled `kvsync.dev/run=<run id>`.
- An image is tagged `kvsync:<run id>`; one that a killed build left behind has the label, but no name.

This is a second look. Without docker or kubectl there is nothing to find, and cleaning up goes on. A docker
that is installed and does not answer is an entry of its own, for a run that used it.
"""

from collections.abc import Iterable

from kvsync.testing.clusters.kubernetes.machine import CLUSTER_LABEL
from kvsync.testing.clusters.kubernetes.manifests import RUN_LABEL
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.ledger import LedgerEntry
from kvsync.testing.processes.tools import ON_PATH, Tools, kubectl

PREFIX = "kvsync"

KINDS = frozenset({"kind-cluster", "container", "image"})
"""The kinds of ledger entries that Docker makes."""

UNKNOWN = "docker"
"""The kind of entry that stands for a docker that did not answer."""

ANSWER_S = 15.0
"""To wait for an answer: a machine on which a run was just killed is busy, and cleaning up has time."""

LOOK_S = 2.0
"""To wait for an answer about a run that did not use Docker, as far as is known."""

_CONTAINER = f'{{{{.Names}}}}\t{{{{.Label "{CLUSTER_LABEL}"}}}}\t{{{{.Label "{RUN_LABEL}"}}}}'


def on_this_machine(tools: Tools = ON_PATH, *, timeout_s: float = ANSWER_S) -> list[LedgerEntry]:
    """Return the containers, Kind clusters and images of all runs, as entries that are in no ledger.

    A docker that does not answer within `timeout_s` is the only entry, of the kind UNKNOWN and of no run.
    """
    if not tools.find("docker"):
        return []
    try:
        listed = _docker(tools, timeout_s, "ps", "--all", f"--format={_CONTAINER}")
        images = ["image", "ls", f"--filter=reference={PREFIX}:*", "--format={{.Tag}}"]
        tagged = [_entry("image", f"{PREFIX}:{run}", run) for run in _docker(tools, timeout_s, *images)]
        return [*containers(listed), *tagged, *_nameless(tools, timeout_s)]
    except ClusterError as exc:
        return [_entry(UNKNOWN, f"does not answer, so what is left there is unknown: {exc}", "")]


def _nameless(tools: Tools, timeout_s: float) -> list[LedgerEntry]:
    unfinished = ["--filter=dangling=true", f"--filter=label={RUN_LABEL}", "--no-trunc", "--quiet"]
    ids = _docker(tools, timeout_s, "image", "ls", *unfinished)
    shown = f'--format={{{{.Id}}}}\t{{{{index .Config.Labels "{RUN_LABEL}"}}}}'
    # The command fails for an image that has gone since then, and prints the others.
    rows = tools.ask("docker", "image", "inspect", shown, *ids, timeout_s=timeout_s).lines if ids else []
    return [_entry("image", *row.split("\t")) for row in rows if not row.endswith("\t")]


def _docker(tools: Tools, timeout_s: float, *words: str) -> list[str]:
    answer = tools.ask("docker", *words, timeout_s=timeout_s)
    if not answer.ok:
        raise ClusterError(answer.reason)
    return answer.lines


def containers(lines: Iterable[str]) -> list[LedgerEntry]:
    """Read a list of containers: each line is a name, a Kind cluster and a run, separated by tabs. Pure."""
    rows = [line.split("\t") for line in lines]
    clusters = {cluster for _, cluster, _ in rows if cluster.startswith(f"{PREFIX}-")}
    return [
        *(_entry("kind-cluster", name, name.removeprefix(f"{PREFIX}-")) for name in sorted(clusters)),
        *(_entry("container", name, run) for name, cluster, run in rows if run and not cluster),
    ]


def in_cluster_of(entry: LedgerEntry, tools: Tools) -> list[LedgerEntry]:
    """Return the namespaces of the run of an entry, in the Kubernetes cluster of that entry."""
    where = {fact: entry.facts.get(fact, "") for fact in ("kubeconfig", "context", "kind_cluster")}
    words = [
        f"--request-timeout={ANSWER_S:.0f}s",
        "get",
        "namespaces",
        f"--selector={RUN_LABEL}={entry.run}",
        "--output=name",
    ]
    found = tools.ask(*kubectl(where["kubeconfig"], where["context"], *words), timeout_s=ANSWER_S)
    return [_entry("namespace", line.partition("/")[2], entry.run, **where) for line in found.lines]


def _entry(kind: str, name: str, run: str, **facts: object) -> LedgerEntry:
    return LedgerEntry(id="", kind=kind, name=name, run=run, facts=facts)
