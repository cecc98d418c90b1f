"""The doctor and the cleaning in a real Kind cluster, which the last tests leave to be cleaned up."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.doctor import kubernetes as kubernetes_findings
from kvsync.ci.doctor.doctor import examine
from kvsync.ci.doctor.findings import FindingState, is_fit
from kvsync.ci.settings import load_settings
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, kubectl
from kvsync.testing.processes.wait import wait_for

RUN = "doctor"
CLUSTER = f"kvsync-{RUN}"
NODE = f"{CLUSTER}-control-plane"
ROOT = Path(__file__).resolve().parents[4]
THINGS = {"group": "kvsync.dev", "version": "v1", "plural": "things", "namespace": "default"}

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("KVSYNC_CI_TEST_KIND") != "1",
        reason="makes a Kind cluster, which takes a minute: set KVSYNC_CI_TEST_KIND=1",
    ),
    pytest.mark.timeout(400),
]


def kind(*words: str) -> list[str]:
    """Return a command that makes a cluster of one node, or deletes it, far from the user's kubeconfig."""
    image = load_settings(ROOT, os.environ).cluster.node_image
    more = [f"--image={image}"] if image and "create" in words else []
    return ["kind", *words, "cluster", f"--name={CLUSTER}", *more]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a cluster with one node; what of it is left at the end is deleted."""
    path = tmp_path_factory.mktemp("kind") / "kubeconfig"
    made = ON_PATH.ask(*kind("create"), f"--kubeconfig={path}", "--wait=180s", timeout_s=300)
    try:
        assert made.ok, made.errors
        yield path
    finally:
        ON_PATH.ask(*kind("delete"), f"--kubeconfig={path}", timeout_s=120)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of the run "doctor"."""
    return Ledger(tmp_path / RUN / "ledger.jsonl")


@pytest.fixture
def where(kubeconfig: Path) -> dict[str, str]:
    """The facts of things in the cluster, as if the run did not own it."""
    return {"kubeconfig": str(kubeconfig), "context": f"kind-{CLUSTER}", "kind_cluster": ""}


def ask(kubeconfig: Path, *words: str, text: str = "") -> ToolAnswer:
    """Ask the cluster."""
    answer = ON_PATH.ask(*kubectl(kubeconfig, f"kind-{CLUSTER}", *words), text=text, timeout_s=30)
    assert answer.ok, answer.errors
    return answer


def apply(kubeconfig: Path, *objects: Mapping[str, object]) -> None:
    """Create objects."""
    ask(
        kubeconfig,
        "create",
        "-f",
        "-",
        text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )


def namespace(name: str) -> dict[str, object]:
    """Return a namespace with the mark of the run."""
    labels = {"kvsync.dev/run": RUN, "app.kubernetes.io/managed-by": "kvsync-ci"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def without_cluster(ledger: Ledger) -> list[str]:
    """Return what the run left but for the cluster itself, which bears its mark all the time."""
    return [line for line in find(ledger.path).describe() if line != f"kind-cluster {CLUSTER}"]


def clean(ledger: Ledger) -> dict[str, str]:
    """Remove what the run left, but for the cluster itself."""
    return find(ledger.path, marked=[]).remove(ledger)


def test_a_cluster_of_ones_own_is_fit(kubeconfig: Path) -> None:
    """Its API server answers, all rights are there, and Chaos Mesh is not."""
    settings = ClusterSettings(kubeconfig=kubeconfig, image="kvsync:x", allowed_contexts=(f"kind-{CLUSTER}",))

    found = examine(ClusterChoice("kubeconfig"), settings, folder=kubeconfig.parent)

    assert is_fit(found)
    states = {finding.check: finding.state for finding in found}
    assert states["API server"] == states["permissions"] == states["namespaces"] == FindingState.OK
    assert states["Chaos Mesh"] is FindingState.UNAVAILABLE


def test_rights_are_those_of_the_user(kubeconfig: Path) -> None:
    """A user who may do nothing is told what is not allowed."""
    token = "--as=nobody"  # noqa: S105 - no secret
    question = json.dumps(kubernetes_findings.reviews(kubernetes_findings.NEEDED))
    answer = ask(
        kubeconfig, token, "create", "-f", "-", f"--output={kubernetes_findings.REVIEW_OUTPUT}", text=question
    )

    found = kubernetes_findings.permissions(answer)[0]

    assert found.state is FindingState.MISSING
    assert found.meaning.startswith("not allowed: create namespaces, get namespaces, list namespaces,")


def test_namespaces_of_the_run_are_deleted_listed_or_not(
    kubeconfig: Path, where: dict[str, str], ledger: Ledger
) -> None:
    """One is in the ledger, another only bears the mark; a third is somebody else's."""
    apply(kubeconfig, namespace("kvsync-doctor-a"), namespace("kvsync-doctor-b"))
    apply(kubeconfig, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kvsync-doctor-c"}})
    ledger.intend("namespace", "kvsync-doctor-a", **where)
    ledger.intend("namespace", "kvsync-doctor-c", **where)

    assert sorted(without_cluster(ledger)) == [f"namespace kvsync-doctor-{each}" for each in "abc"]
    assert clean(ledger) == {"namespace kvsync-doctor-c": "it belongs to no run, and is left alone"}

    names = ask(kubeconfig, "get", "namespaces", "--output=name").lines
    assert [name for name in names if "doctor" in name] == ["namespace/kvsync-doctor-c"]


def test_a_namespace_stuck_in_terminating_says_what_holds_it(
    kubeconfig: Path, where: dict[str, str], ledger: Ledger
) -> None:
    """The doctor finds it, cleaning names what is left in it, and succeeds when that is gone."""
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": "kvsync-doctor-d", "finalizers": ["kvsync.dev/test"]},
    }
    apply(kubeconfig, namespace("kvsync-doctor-d"), held)
    ledger.intend("namespace", "kvsync-doctor-d", **where)
    ask(kubeconfig, "delete", "namespace", "kvsync-doctor-d", "--wait=false")
    wait_for(
        lambda: "remaining" in ask(kubeconfig, "get", "namespace", "kvsync-doctor-d", "-o", "json").output,
        what="Kubernetes says what remains",
        timeout_s=60,
        interval_s=1,
    )

    listed = ask(kubeconfig, "get", "namespaces", "-l", f"kvsync.dev/run={RUN}", "-o", "json")
    finding = kubernetes_findings.namespaces(listed, datetime.now(UTC) + timedelta(minutes=5))
    assert finding.state is FindingState.MISSING
    assert "configmaps. has 1 resource instances" in finding.meaning
    assert "kvsync.dev/test in 1 resource instances" in finding.meaning

    patch = '{"metadata": {"finalizers": null}}'
    ask(kubeconfig, "-n", "kvsync-doctor-d", "patch", "configmap", "held", "--type=merge", f"--patch={patch}")
    assert clean(ledger) == {}
    assert without_cluster(ledger) == []


def test_a_custom_resource_is_deleted(kubeconfig: Path, where: dict[str, str], ledger: Ledger) -> None:
    """While its kind is unknown there is nothing to delete."""
    ledger.intend("custom-resource", "it", **where, **THINGS)
    assert clean(ledger) == {}
    names = {"plural": "things", "singular": "thing", "kind": "Thing"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.kvsync.dev"},
        "spec": {"group": "kvsync.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    apply(kubeconfig, definition)
    ask(kubeconfig, "wait", "--for=condition=Established", "crd/things.kvsync.dev", "--timeout=20s")
    apply(kubeconfig, {"apiVersion": "kvsync.dev/v1", "kind": "Thing", "metadata": {"name": "it"}})
    ledger.intend("custom-resource", "it", **where, **THINGS)

    assert clean(ledger) == {}
    assert ask(kubeconfig, "get", "things.kvsync.dev", "--output=name").lines == []


def test_a_network_rule_is_undone_once(kubeconfig: Path, ledger: Ledger) -> None:
    """A rule that is not there any more needs no undoing, nor one of a container that does not run."""
    rule = ["OUTPUT", "-d", "192.0.2.1", "-j", "DROP"]
    added = ON_PATH.ask("docker", "exec", NODE, "iptables", "-A", *rule)
    assert added.ok, added.errors
    undo = ["iptables", "-D", *rule]
    for node in (NODE, NODE, "kvsync-gone"):
        ledger.intend("network-rule", f"drop in {node}", node=node, undo=undo)
    ledger.intend("network-rule", "delay", node=NODE, undo=["tc", "qdisc", "del", "dev", "lo", "root"])

    assert clean(ledger) == {}
    assert ON_PATH.ask("docker", "exec", NODE, "iptables", "-C", *rule).exit_code == 1


def test_a_cluster_is_found_by_its_name_and_removed(kubeconfig: Path, ledger: Ledger) -> None:
    """The ledger knows nothing of it; no container and no volume of it stays."""
    volumes = ON_PATH.ask(
        "docker", "inspect", "--format={{range .Mounts}}{{.Name}} {{end}}", NODE
    ).output.split()
    assert volumes

    assert find(ledger.path).remove(ledger) == {}

    assert ON_PATH.ask("docker", "ps", "--all", f"--filter=name={CLUSTER}", "--quiet").lines == []
    assert [ON_PATH.ask("docker", "volume", "inspect", volume).exit_code for volume in volumes] == [1] * len(
        volumes
    )


def test_a_cluster_that_is_being_made_is_removed_with_who_makes_it(ledger: Ledger, tmp_path: Path) -> None:
    """As after a SIGKILL of the run while kind works."""
    with (tmp_path / "kind.log").open("wb") as log:
        making = subprocess.Popen(
            [*kind("create"), f"--kubeconfig={tmp_path / 'kubeconfig'}"],
            env={**os.environ, **ledger.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    containers = ["docker", "ps", "--all", "--quiet", f"--filter=name={CLUSTER}"]
    wait_for(lambda: ON_PATH.ask(*containers).lines, what="a node exists", timeout_s=60)

    fates = clear(find(ledger.path), ledger)

    assert [why for why in fates.values() if why] == []
    making.wait(timeout=5)
    assert ON_PATH.ask(*containers).lines == []
    assert find(ledger.path).describe() == []
