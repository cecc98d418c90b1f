"""What on this machine and in its clusters bears the mark of a run, whether a ledger knows of it or not.

- A Kind cluster of a run is named `kvsync-<run id>`; kind labels its containers with that name.
- A container or a namespace is labelled `kvsync.dev/run=<run id>`.
- An image is tagged `kvsync:<run id>`; one that a killed build left has no name, but the label.

Where docker or kubectl are not there, or do not answer at once, nothing is found: this is a second look, and
must not keep a machine without them from cleaning up.
"""

from collections.abc import Iterable

from kvsync.testing.ledger import Entry
from kvsync.testing.manifests import RUN_LABEL
from kvsync.testing.tools import ON_PATH, Tools, kubectl

CLUSTER_LABEL = "io.x-k8s.kind.cluster"
"""What kind puts on the containers of a cluster."""

PREFIX = "kvsync"

KINDS = frozenset({"kind-cluster", "container", "image"})
"""What Docker makes, of the kinds of ledger entries."""

LOOK_S = 2.0

_CONTAINER = f'{{{{.Names}}}}\t{{{{.Label "{CLUSTER_LABEL}"}}}}\t{{{{.Label "{RUN_LABEL}"}}}}'


def on_this_machine(tools: Tools = ON_PATH) -> list[Entry]:
    """Return the containers, Kind clusters and images of all runs, as entries that no ledger has."""
    listed = tools.ask("docker", "ps", "--all", f"--format={_CONTAINER}", timeout_s=LOOK_S)
    if not listed.ok:
        return []
    images = ["docker", "image", "ls", f"--filter=reference={PREFIX}:*", "--format={{.Tag}}"]
    tagged = [_entry("image", f"{PREFIX}:{run}", run) for run in tools.ask(*images, timeout_s=LOOK_S).lines]
    return [*containers(listed.lines), *tagged, *_nameless(tools)]


def _nameless(tools: Tools) -> list[Entry]:
    unfinished = ["--filter=dangling=true", f"--filter=label={RUN_LABEL}", "--no-trunc", "--quiet"]
    ids = tools.ask("docker", "image", "ls", *unfinished, timeout_s=LOOK_S).lines
    shown = f'--format={{{{.Id}}}}\t{{{{index .Config.Labels "{RUN_LABEL}"}}}}'
    rows = tools.ask("docker", "image", "inspect", shown, *ids, timeout_s=LOOK_S).lines if ids else []
    return [_entry("image", *row.split("\t")) for row in rows if not row.endswith("\t")]


def containers(lines: Iterable[str]) -> list[Entry]:
    """Read a list of containers: each line has a name, a Kind cluster and a run, with tabs between. Pure."""
    rows = [line.split("\t") for line in lines]
    clusters = {cluster for _, cluster, _ in rows if cluster.startswith(f"{PREFIX}-")}
    return [
        *(_entry("kind-cluster", name, name.removeprefix(f"{PREFIX}-")) for name in sorted(clusters)),
        *(_entry("container", name, run) for name, cluster, run in rows if run and not cluster),
    ]


def beside(entry: Entry, tools: Tools) -> list[Entry]:
    """Return the namespaces of the run of an entry, in the Kubernetes cluster that the entry is in."""
    where = {fact: entry.facts.get(fact, "") for fact in ("kubeconfig", "context", "kind_cluster")}
    words = [
        "--request-timeout=2s",
        "get",
        "namespaces",
        f"--selector={RUN_LABEL}={entry.run}",
        "--output=name",
    ]
    found = tools.ask(*kubectl(where["kubeconfig"], where["context"], *words), timeout_s=LOOK_S)
    return [_entry("namespace", line.partition("/")[2], entry.run, **where) for line in found.lines]


def _entry(kind: str, name: str, run: str, **facts: object) -> Entry:
    return Entry(id="", kind=kind, name=name, run=run, facts=facts)
