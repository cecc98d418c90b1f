"""Cleaning up after a run: everything in its ledger and everything with its mark, whatever resists."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.tools import Tools
from tests.integration.ci.conftest import Programs

HERE = {"kubeconfig": "", "context": "dev", "kind_cluster": ""}
PODCHAOS = {"group": "chaos-mesh.org", "version": "v1alpha1", "plural": "podchaos", "namespace": "kvsync-7-a"}

OURS = json.dumps({"metadata": {"name": "kvsync-7-a", "labels": {"kvsync.dev/run": "run-7"}}})
THEIRS = json.dumps({"metadata": {"name": "kvsync-7-a", "labels": {"kvsync.dev/run": "run-8"}}})
STUCK = json.dumps(
    {
        "metadata": {
            "name": "kvsync-7-a",
            "labels": {"kvsync.dev/run": "run-7"},
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": {"conditions": [{"type": "x", "status": "True", "message": "podchaos remains"}]},
    }
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger of the run "run-7"."""
    return Ledger(tmp_path / "run-7" / "ledger.jsonl")


def clean(ledger: Ledger, tools: Tools) -> dict[str, str]:
    """Clean up, and return what could not be removed."""
    fates = clear(find(ledger.path, tools), ledger, tools)
    return {line: why for line, why in fates.items() if why}


def left(ledger: Ledger) -> list[str]:
    """Return what the ledger does not know to be gone."""
    return [entry.kind for entry in leftovers([ledger.path])]


def test_a_kind_cluster_goes_by_its_label_and_what_is_in_it_goes_with_it(
    ledger: Ledger, programs: Programs
) -> None:
    """All its containers are removed, also those of a cluster that was never finished; kind is not needed."""
    programs(
        "docker",
        "'ps --all --quiet --filter=label=io.x-k8s.kind.cluster=kvsync-run-7') test -e gone || echo aa bb",
        "ps*|'image ls'*) :",
        "'rm --force --volumes aa bb') : > gone",
    )
    ledger.intend("kind-cluster", "kvsync-run-7", kubeconfig="/x")
    ledger.intend("namespace", "kvsync-7-a", **{**HERE, "kind_cluster": "kvsync-run-7"})
    ledger.intend("network-rule", "drop", node="kvsync-run-7-worker", undo=["iptables", "-D"])

    assert clean(ledger, programs.tools) == {}
    assert left(ledger) == []
    assert programs.calls("docker rm", "docker exec", "kubectl") == ["docker rm aa bb"]


def test_a_cluster_that_resists_stops_nothing_else(
    ledger: Ledger, programs: Programs, tmp_path: Path
) -> None:
    """Each failure has its reason and stays in the ledger; a second cleaning tries it again."""
    programs(
        "docker",
        "'ps --all --quiet --filter=label=io.x-k8s.kind.cluster=kvsync-run-7') echo aa",
        "'ps --all --quiet --filter=name='*) test -e cc || echo cc",
        "ps*) :",
        "'image ls --filter=reference=kvsync:run-7 '*) test -e image || echo kvsync:run-7",
        "'image ls'*) :",
        "'rm --force --volumes aa') echo 'Error: device is busy' >&2; exit 1",
        "'rm --force --volumes cc') : > cc",
        "'image rm'*) : > image",
    )
    for kind, name in [("kind-cluster", "kvsync-run-7"), ("container", "probe"), ("image", "kvsync:run-7")]:
        ledger.intend(kind, name)
    (tmp_path / "left").touch()
    ledger.intend("path", str(tmp_path / "left"))

    failures = clean(ledger, programs.tools)

    assert failures == {"kind-cluster kvsync-run-7": "docker cannot remove it: Error: device is busy"}
    assert left(ledger) == ["kind-cluster"]
    assert programs.calls("docker rm", "docker image rm") == [
        "docker rm aa",
        "docker rm cc",
        "docker image rm kvsync:run-7",
    ]
    assert not (tmp_path / "left").exists()


def test_what_is_gone_already_is_released(ledger: Ledger, programs: Programs) -> None:
    """A thing that was written down and never made, or deleted since, is not a failure."""
    programs("docker", "ps*|'image ls'*) :", "exec*) echo 'Error: No such container: n' >&2; exit 1")
    programs("kubectl", "*'get namespace kvsync-7-b'*) exit 1", "*get*) :")
    ledger.intend("kind-cluster", "kvsync-run-7", kubeconfig="/x")
    ledger.intend("container", "probe")
    ledger.intend("image", "kvsync:run-7")
    ledger.intend("network-rule", "drop", node="n", undo=["iptables", "-D"])
    ledger.intend("namespace", "kvsync-7-a", **HERE)
    ledger.intend("namespace", "kvsync-7-b", **{**HERE, "kind_cluster": "deleted-by-hand"})
    ledger.intend("custom-resource", "kill", **HERE, **PODCHAOS)

    assert clean(ledger, programs.tools) == {}
    assert left(ledger) == []
    assert programs.calls("docker rm", "docker image rm", "kubectl delete") == []


def test_things_with_the_mark_of_the_run_are_found_without_a_ledger(
    ledger: Ledger, programs: Programs
) -> None:
    """Containers, clusters, images and namespaces of this run are listed; those of other runs are not."""
    programs(
        "docker",
        "'ps --all --format='*) "
        "printf 'n1\\tkvsync-run-7\\t\\nn2\\tkvsync-run-77\\t\\np\\t\\trun-7\\nq\\t\\trun-8\\n'",
        "'image ls --filter=reference=kvsync:* --format={{.Tag}}') echo run-7; echo run-8",
        "'image ls --filter=dangling=true '*) :",
    )
    programs("kubectl", "*--selector=kvsync.dev/run=run-7*) echo namespace/kvsync-7-b")
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert find(ledger.path, programs.tools).describe() == [
        "namespace kvsync-7-a",
        "kind-cluster kvsync-run-7",
        "container p",
        "image kvsync:run-7",
        "namespace kvsync-7-b",
    ]


@pytest.mark.timeout(15)
@pytest.mark.parametrize("state", ["absent", "down", "hangs"])
def test_a_machine_without_docker_has_nothing_left(ledger: Ledger, programs: Programs, state: str) -> None:
    """Neither the absence of docker nor a daemon that does not answer is a problem of a local run."""
    if state != "absent":
        programs("docker", "*) exit 1" if state == "down" else "*) /bin/sleep 60")
    ledger.released(ledger.intend("process", "engine"))

    residue = find(ledger.path, programs.tools)

    assert residue.describe() == []
    assert residue.remove(ledger, programs.tools) == {}


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("absent", []),
        ("down", ["docker does not answer, so what is left there is unknown: no daemon"]),
    ],
)
def test_a_run_that_used_docker_is_not_said_to_have_left_nothing_while_docker_is_silent(
    ledger: Ledger, programs: Programs, state: str, line: list[str]
) -> None:
    """All that the run wrote down is gone; what its ledger does not know could be there all the same."""
    if state != "absent":
        programs("docker", "*) if test -e up; then :; else echo no daemon >&2; exit 1; fi")
    ledger.released(ledger.intend("image", "kvsync:run-7"))

    residue = find(ledger.path, programs.tools)
    assert residue.describe() == line
    assert list(clear(residue, ledger, programs.tools)) == line

    (programs.folder.parent / "up").touch()
    assert clean(ledger, programs.tools) == {}


def test_a_docker_that_is_slow_is_waited_for(ledger: Ledger, programs: Programs) -> None:
    """A machine that was busy when its run died still lists what is there."""
    programs("docker", "'ps --all --format='*) /bin/sleep 3; printf 'p\\t\\trun-7\\n'", "'image ls'*) :")
    ledger.released(ledger.intend("image", "kvsync:run-7"))

    assert find(ledger.path, programs.tools).describe() == ["container p"]


def test_what_is_in_the_ledger_stays_there_while_docker_does_not_answer(
    ledger: Ledger, programs: Programs
) -> None:
    """It is not taken for gone."""
    ledger.intend("kind-cluster", "kvsync-run-7", kubeconfig="/x")

    assert clean(ledger, programs.tools) == {
        "kind-cluster kvsync-run-7": "cannot ask docker: docker is not installed"
    }
    assert left(ledger) == ["kind-cluster"]


LISTED = """REF TYPE DIGEST SIZE
docker.io/library/kvsync:run-7 m sha256:aa 1
docker.io/library/kvsync:run-77 m sha256:bb 1
import-2026@sha256:aa m sha256:aa 1
sha256:c0 m sha256:aa 1
sha256:c1 m sha256:bb 1
"""
NODES = "'ps --all --quiet --filter=label=io.x-k8s.kind.cluster=mine') echo n1; echo n2"


def test_the_image_of_a_run_is_removed_from_every_node_of_a_cluster_that_stays(
    ledger: Ledger, programs: Programs
) -> None:
    """By all its names, since it is there as long as it has one; a node that has it no more is as good."""
    programs(
        "docker",
        NODES,
        f"'exec n1 '*' images ls') echo '{LISTED}'",
        "'exec n2 '*' images ls') echo REF TYPE DIGEST",
        "'exec n1 '*' images rm '*) :",
        "ps*|'image ls'*) :",
    )
    ledger.intend("node-image", "kvsync:run-7", kind_cluster="mine")

    assert clean(ledger, programs.tools) == {}
    assert left(ledger) == []
    names = "docker.io/library/kvsync:run-7 import-2026@sha256:aa sha256:c0"
    assert [call for call in programs.calls("docker exec") if " rm " in call] == [
        f"docker exec n1 ctr images rm {names}"
    ]


@pytest.mark.parametrize(
    ("cluster", "failures"),
    [
        (NODES, {"node-image kvsync:run-7": "cannot look at the images of node n1: not running"}),
        ("nothing) :", {}),
    ],
    ids=["its node is stopped", "the cluster was deleted"],
)
def test_an_image_on_a_node_that_cannot_be_asked_stays_in_the_ledger(
    ledger: Ledger, programs: Programs, cluster: str, failures: dict[str, str]
) -> None:
    """With its cluster it is gone."""
    programs("docker", cluster, "exec*) echo 'not running' >&2; exit 1", "ps*|'image ls'*) :")
    ledger.intend("node-image", "kvsync:run-7", kind_cluster="mine")

    assert clean(ledger, programs.tools) == failures


def test_a_namespace_of_the_run_is_deleted(ledger: Ledger, programs: Programs) -> None:
    """Its end is waited for."""
    programs(
        "kubectl", f"*'get namespace '*) test -e gone || echo '{OURS}'", "*delete*) : > gone", "*get*) :"
    )
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert clean(ledger, programs.tools) == {}
    assert programs.calls("kubectl delete") == ["kubectl delete namespace kvsync-7-a"]


def test_a_namespace_of_somebody_else_is_left_alone(ledger: Ledger, programs: Programs) -> None:
    """A name alone is not a reason to delete a namespace."""
    programs("kubectl", f"*'get namespace '*) echo '{THEIRS}'", "*get*) :")
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert clean(ledger, programs.tools) == {
        "namespace kvsync-7-a": "it belongs to run run-8, and is left alone"
    }
    assert programs.calls("kubectl delete") == []


def test_a_namespace_that_may_not_be_deleted_says_so(ledger: Ledger, programs: Programs) -> None:
    """It is not taken for one that is stuck."""
    programs(
        "kubectl", f"*'get namespace '*) echo '{OURS}'", "*delete*) echo Forbidden >&2; exit 1", "*get*) :"
    )
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert clean(ledger, programs.tools) == {"namespace kvsync-7-a": "cannot be deleted: Forbidden"}


def test_a_namespace_stuck_in_terminating_says_what_holds_it(ledger: Ledger, programs: Programs) -> None:
    """One that has not gone for long is not waited for as long as others."""
    programs(
        "kubectl",
        f"*'get namespace '*) echo '{STUCK}'",
        "*delete*) echo 'error: timed out' >&2; exit 1",
        "*get*) :",
    )
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert clean(ledger, programs.tools) == {
        "namespace kvsync-7-a": (
            "stuck in Terminating: podchaos remains; delete what holds it or remove its finalizers"
        )
    }
    assert left(ledger) == ["namespace"]
    assert "delete namespace kvsync-7-a --ignore-not-found --timeout=5s" in programs.log


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        ("echo node/n uncordoned", {}),
        ("echo node/n already uncordoned", {}),
        ("""echo 'Error from server (NotFound): nodes "n" not found' >&2; exit 1""", {}),
        ("echo Forbidden >&2; exit 1", {"cordon n": "cannot uncordon the node: Forbidden"}),
    ],
    ids=["closed", "open", "gone", "may not"],
)
def test_a_node_that_was_closed_is_opened(
    ledger: Ledger, programs: Programs, answer: str, failures: dict[str, str]
) -> None:
    """One that is not there any more needs no opening."""
    programs("kubectl", f"*uncordon*) {answer}")
    ledger.intend("cordon", "n", **HERE)

    assert clean(ledger, programs.tools) == failures


def test_an_api_server_that_does_not_answer_is_named(ledger: Ledger, programs: Programs) -> None:
    """What is there is not known, so nothing is released."""
    programs("kubectl", "*) echo 'Unable to connect to the server: EOF' >&2; exit 1")
    ledger.intend("namespace", "kvsync-7-a", **HERE)

    assert clean(ledger, programs.tools) == {
        "namespace kvsync-7-a": "cannot ask the API server: Unable to connect to the server: EOF"
    }
    assert left(ledger) == ["namespace"]


FORCED = "chaos-mesh.chaos-mesh.org/cleanFinalizer=forced"
EXPERIMENT = json.dumps({"metadata": {"name": "kill", "finalizers": ["chaos-mesh/records"]}})


@pytest.mark.parametrize(
    ("goes_when", "failures", "steps"),
    [
        ("*delete*) : > gone", {}, 1),
        ("*annotate*) : > gone", {}, 3),
        ("*patch*) : > gone", {}, 5),
        ("*patch*) echo Forbidden >&2; exit 1", {"custom-resource kill": "cannot be deleted: Forbidden"}, 5),
        ("*patch*) :", {"custom-resource kill": "cannot be deleted: exit code 1"}, 5),
    ],
    ids=["deleted", "forced", "controller is dead", "may not be changed", "held"],
)
def test_a_custom_resource_is_deleted_and_forced_if_it_must_be(
    ledger: Ledger, programs: Programs, goes_when: str, failures: dict[str, str], steps: int
) -> None:
    """Chaos Mesh is told to let go what it cannot undo; if that is not heard, its finalizers are taken."""
    programs(
        "kubectl", goes_when, f"*get*) test -e gone || echo '{EXPERIMENT}'", "*delete*|*annotate*) exit 1"
    )
    ledger.intend("custom-resource", "kill", **HERE, **PODCHAOS)

    assert clean(ledger, programs.tools) == failures
    which = "podchaos.v1alpha1.chaos-mesh.org kill"
    done = programs.calls("kubectl delete", "kubectl annotate", "kubectl patch")
    assert (
        done
        == [
            f"kubectl delete {which}",
            f"kubectl annotate {which} {FORCED}",
            f"kubectl delete {which}",
            f"kubectl patch {which}",
            f"kubectl delete {which}",
        ][:steps]
    )


def test_a_custom_resource_whose_kind_is_unknown_is_gone(ledger: Ledger, programs: Programs) -> None:
    """With Chaos Mesh uninstalled nothing of it is left."""
    programs(
        "kubectl", """*) echo "error: the server doesn't have a resource type \\"podchaos\\"" >&2; exit 1"""
    )
    ledger.intend("custom-resource", "kill", **HERE, **PODCHAOS)

    assert clean(ledger, programs.tools) == {}
    assert left(ledger) == []


@pytest.mark.parametrize(
    ("case", "failures"),
    [
        ("exec*) :", {}),
        ("exec*) echo 'iptables: Bad rule (does a matching rule exist in that chain?).' >&2; exit 1", {}),
        ("exec*) echo 'Error: Cannot delete qdisc with handle of zero.' >&2; exit 2", {}),
        (
            "exec*) echo 'iptables: Permission denied' >&2; exit 4",
            {"network-rule drop": "cannot undo it in worker: iptables: Permission denied"},
        ),
    ],
    ids=["undone", "no such rule", "no such discipline", "fails"],
)
def test_a_network_rule_is_undone_in_its_node(
    ledger: Ledger, programs: Programs, case: str, failures: dict[str, str]
) -> None:
    """The command of the ledger is run in the node; a rule that is not there any more is undone."""
    programs("docker", "ps*|'image ls'*) :", case)
    ledger.intend(
        "network-rule", "drop", node="worker", undo=["nsenter", "-t", "7", "iptables", "-D", "INPUT"]
    )

    assert clean(ledger, programs.tools) == failures
    assert programs.calls("docker exec") == ["docker exec worker nsenter -t 7 iptables -D INPUT"]


@pytest.fixture
def stray(ledger: Ledger) -> "Iterator[subprocess.Popen[bytes]]":
    """A process of the run that its ledger does not know."""
    process = subprocess.Popen(["/bin/sleep", "60"], env=ledger.environment, start_new_session=True)
    yield process
    process.kill()
    process.wait(timeout=5)


def test_processes_end_before_anything_is_removed(
    ledger: Ledger, programs: Programs, stray: "subprocess.Popen[bytes]"
) -> None:
    """A process that escaped and could go on creating things is ended first."""
    programs(
        "docker",
        f"*=io.x-k8s.kind.cluster=*) if test -e /proc/{stray.pid}; then : > too-late; fi",
        "ps*|'image ls'*) :",
    )
    ledger.intend("kind-cluster", "kvsync-run-7", kubeconfig="/x")
    residue = find(ledger.path, programs.tools)
    assert residue.describe() == ["kind-cluster kvsync-run-7", f"process {stray.pid} /bin/sleep 60"]

    assert residue.remove(ledger, programs.tools) == {}
    assert not (programs.folder.parent / "too-late").exists()


def test_what_docker_makes_for_a_killed_client_is_awaited(
    ledger: Ledger, programs: Programs, stray: "subprocess.Popen[bytes]"
) -> None:
    """A container that appears a while after its maker was killed is removed, too."""
    late = "if test -e two && ! test -e gone; then printf 'probe\\t\\trun-7\\n'; fi"
    programs(
        "docker",
        f"'ps --all --format='*) {late}; test -e one && : > two; : > one",
        "*name=^probe*) test -e gone || echo cc",
        "'rm --force --volumes cc') : > gone",
        "ps*|'image ls'*) :",
    )
    ledger.intend("image", "kvsync:run-7")

    fates = clear(find(ledger.path, programs.tools), ledger, programs.tools)

    assert fates == {
        "image kvsync:run-7": "",
        f"process {stray.pid} /bin/sleep 60": "",
        "container probe": "",
    }
    assert programs.calls("docker rm") == ["docker rm cc"]


def test_a_container_that_docker_is_still_making_is_removed_again(ledger: Ledger, programs: Programs) -> None:
    """Docker lists it, and says that it has removed it, before it is there."""
    programs(
        "docker",
        "*name=^probe*) test -e gone || echo cc",
        "'rm --force --volumes cc') test -e made && : > gone; : > made",
        "ps*|'image ls'*) :",
    )
    ledger.intend("container", "probe")

    assert clean(ledger, programs.tools) == {}
    assert programs.calls("docker rm") == ["docker rm cc", "docker rm cc"]
