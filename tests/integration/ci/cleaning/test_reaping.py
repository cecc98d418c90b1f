"""How each thing that a run left is removed, and that nothing else is."""

import json

import pytest

from kvsync.ci.cleaning.reapers import reap
from kvsync.ci.cleaning.residue import clear, find
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.ledger import Ledger, LedgerEntry, leftovers
from tests.integration.ci.conftest import Programs

DEV = {"kubeconfig": "/k", "context": "dev", "kind_cluster": ""}


def entry(kind: str, name: str, **facts: object) -> LedgerEntry:
    """Return an entry of the run "run-7"."""
    return LedgerEntry(id="1", kind=kind, name=name, run="run-7", facts=facts)


@pytest.mark.parametrize(
    ("said", "was_closed"),
    [("node/n1 uncordoned", True), ("node/n1 already uncordoned", False)],
    ids=["closed", "open already"],
)
def test_a_closed_node_is_opened(programs: Programs, said: str, was_closed: bool) -> None:
    """In its cluster; whether it was still closed is known from kubectl's answer."""
    programs("kubectl", f"*' uncordon n1') echo {said}")

    assert reap(entry("cordon", "n1", **DEV), programs.tools) is was_closed
    assert programs.log.splitlines() == ["kubectl --kubeconfig=/k --context=dev uncordon n1"]


def test_a_node_that_cannot_be_opened_is_no_success(programs: Programs) -> None:
    """The reason is kubectl's."""
    programs("kubectl", "*) echo 'Error from server (Forbidden): no' >&2; exit 1")

    with pytest.raises(
        ClusterError, match=r"^cannot uncordon the node: Error from server \(Forbidden\): no$"
    ):
        reap(entry("cordon", "n1", **DEV), programs.tools)


def test_a_closed_node_of_a_killed_run_is_found_and_opened(ledger: Ledger, programs: Programs) -> None:
    """One in a Kind cluster that was deleted needs no opening."""
    programs("docker", "ps*|'image ls'*) :")
    programs("kubectl", "*' uncordon n1') echo node/n1 uncordoned")
    ledger.intend("cordon", "n1", **DEV)
    ledger.intend("cordon", "n2", **{**DEV, "kind_cluster": "gone"})
    residue = find(ledger.path, programs.tools)
    assert residue.describe() == ["cordon n2", "cordon n1"]

    assert clear(residue, ledger, programs.tools) == {"cordon n2": "", "cordon n1": ""}

    assert leftovers([ledger.path]) == []
    assert programs.calls("kubectl") == ["kubectl uncordon n1"]


@pytest.mark.parametrize(
    "metadata",
    [{"name": "shop"}, {"name": "shop", "labels": {"app.kubernetes.io/managed-by": "kvsync-ci"}}],
    ids=["no label", "another label"],
)
def test_a_namespace_of_no_run_is_left_alone(programs: Programs, metadata: dict[str, object]) -> None:
    """Somebody may have made one of that name since."""
    programs("kubectl", f"*'get namespace shop'*) echo '{json.dumps({'metadata': metadata})}'")

    with pytest.raises(ClusterError, match="it belongs to no run, and is left alone"):
        reap(entry("namespace", "shop", **DEV), programs.tools)
    assert programs.calls("kubectl delete") == []


@pytest.mark.parametrize(
    "said",
    [
        "nsenter: cannot open /proc/4711/ns/net: No such file or directory",
        "RTNETLINK answers: No such process",
        "Error response from daemon: No such container: worker",
        "Error response from daemon: container 12ab is not running",
        "iptables: Bad rule (does a matching rule exist in that chain?).",
        "iptables: No chain/target/match by that name.",
        "Cannot find device eth0",
        "Error: Cannot delete qdisc with handle of zero.",
        "Error: Invalid handle.",
    ],
)
def test_a_rule_whose_place_is_gone_needs_no_undoing(programs: Programs, said: str) -> None:
    """Its rule, its process, its device or its container has ended meanwhile."""
    programs("docker", f"'exec worker '*) echo '{said}' >&2; exit 1")

    assert not reap(entry("network-rule", "drop", node="worker", undo=["nsenter", "x"]), programs.tools)


def test_a_container_that_somebody_else_removes_is_awaited(programs: Programs) -> None:
    """A guardian and `clean` may do it at the same time: Docker refuses the second."""
    programs(
        "docker",
        "'ps --all --quiet --filter=name=^probe$') test -e gone || echo cc",
        "'rm --force --volumes cc') : > gone; echo 'removal of cc is already in progress' >&2; exit 1",
    )

    assert reap(entry("container", "probe"), programs.tools)
    assert programs.calls("docker rm") == ["docker rm cc"]


def test_of_images_without_a_name_only_that_of_the_run_is_removed(ledger: Ledger, programs: Programs) -> None:
    """Builds of others leave such images, too; those of ours have the run's label."""
    programs(
        "docker",
        "'image ls --filter=dangling=true --filter=label=kvsync.dev/run --no-trunc --quiet') "
        "test -e gone || echo sha256:aa; echo sha256:bb; echo sha256:cc",
        "'image inspect '*' sha256:aa sha256:bb sha256:cc') "
        r"printf 'sha256:aa\trun-7\nsha256:bb\trun-8\nsha256:cc\t\n'",
        "'image inspect '*) :",
        "'image ls --filter=dangling=true --no-trunc --quiet') "
        "test -e gone || echo sha256:aa; echo sha256:bb; echo sha256:dd",
        "'image rm --force sha256:aa') : > gone",
        "ps*|'image ls'*) :",
    )
    residue = find(ledger.path, programs.tools)
    assert residue.describe() == ["image sha256:aa"]

    assert clear(residue, ledger, programs.tools) == {"image sha256:aa": ""}
    assert programs.calls("docker image rm") == ["docker image rm sha256:aa"]
    assert not reap(entry("image", "sha256:aa"), programs.tools)


@pytest.fixture
def ledger(programs: Programs) -> Ledger:
    """An empty ledger of the run "run-7"."""
    return Ledger(programs.folder.parent / "run-7" / "ledger.jsonl")
