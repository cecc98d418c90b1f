"""What the answers of Docker, Kind, a kubeconfig and the kernel mean, and that each problem has its mend."""

import pytest

from kvsync.ci.doctor import docker as docker_findings
from kvsync.ci.doctor import findings as preflight
from kvsync.ci.doctor.findings import GIB, Finding, FindingState, is_fit, require
from kvsync.ci.errors import CannotRun
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.tools import ToolAnswer

START = "start it (sudo systemctl start docker, or Docker Desktop), and check DOCKER_HOST"
CARRY = "`docker pull x:1` and `docker save` where there is a network, `docker load` here"


def failed(errors: str) -> ToolAnswer:
    """Return the answer of a program that failed."""
    return ToolAnswer(exit_code=1, errors=errors)


@pytest.mark.parametrize(
    ("errors", "meaning", "mend"),
    [
        (
            "docker is not installed",
            "docker is not installed",
            "install Docker: https://docs.docker.com/engine/install/",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "sudo usermod -aG docker $USER, then log in again",
        ),
        (
            "warning: x\nCannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n",
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            START,
        ),
        ("docker did not answer within 5 s", "docker did not answer within 5 s", START),
        (
            'Failed to initialize: context "moon": context not found',
            'Failed to initialize: context "moon": context not found',
            "docker context use default",
        ),
    ],
    ids=["no client", "no permission", "no daemon", "hangs", "wrong context"],
)
def test_docker_that_does_not_answer_has_a_mend(errors: str, meaning: str, mend: str) -> None:
    """Each way in which Docker cannot be reached is told apart."""
    assert docker_findings.docker(failed(errors)) == Finding("docker", FindingState.MISSING, meaning, mend)


def test_docker_and_kind_that_answer_are_named_with_their_version() -> None:
    """What is there is shown as the program says it."""
    docker = docker_findings.docker(ToolAnswer(exit_code=0, output="28.2.2\n"))
    kind = docker_findings.kind(ToolAnswer(exit_code=0, output="kind v0.33.0 go1.27\n"))

    assert docker == Finding("docker", FindingState.OK, "version 28.2.2")
    assert kind == Finding("kind", FindingState.OK, "kind v0.33.0 go1.27")


def test_a_client_without_a_server_is_no_docker() -> None:
    """A client that exits with 0 and prints no server's version has not reached one."""
    assert docker_findings.docker(ToolAnswer(exit_code=0, output="\n")).state is FindingState.MISSING


def test_kind_that_is_absent_has_a_mend() -> None:
    """It says where kind comes from."""
    assert docker_findings.kind(failed("kind is not installed")) == Finding(
        "kind",
        FindingState.MISSING,
        "kind is not installed",
        "install it: https://kind.sigs.k8s.io/docs/user/quick-start/",
    )


def test_the_node_image_of_a_kind_is_in_its_program() -> None:
    """The image with its digest is found among other strings of a binary; without one there is none."""
    image = b"kindest/node:v1.37.0@sha256:" + b"0a" * 32

    assert docker_findings.built_in_image(b"kindest/node:latest\x00" + image + b"kindest") == image.decode()
    assert docker_findings.built_in_image(b"kindest/node:v1.37.0@sha256:0a") is None


@pytest.mark.parametrize(
    ("registry", "instead", "state", "meaning", "mend"),
    [
        (ToolAnswer(exit_code=0, output="{}"), [], FindingState.OK, "x:1 is not here; it will be pulled", ""),
        (
            failed("no such manifest: docker.io/library/x:1"),
            [],
            FindingState.MISSING,
            "x:1 is not here, and cannot be pulled: no such manifest: docker.io/library/x:1",
            "correct KVSYNC_CI_X, or `docker login`",
        ),
        (
            failed("dial tcp: lookup registry-1.docker.io: no such host"),
            ["x:3", "x:2"],
            FindingState.MISSING,
            "x:1 is not here, and cannot be pulled: dial tcp: lookup registry-1.docker.io: no such host",
            f"set KVSYNC_CI_X to one that is here (x:2, x:3), or {CARRY}",
        ),
        (
            failed("docker did not answer within 8 s"),
            [],
            FindingState.MISSING,
            "x:1 is not here, and cannot be pulled: docker did not answer within 8 s",
            CARRY,
        ),
    ],
    ids=["can be pulled", "does not exist", "no network", "no answer"],
)
def test_an_image_that_is_not_here_can_be_pulled_or_has_a_mend(
    registry: ToolAnswer, instead: list[str], state: FindingState, meaning: str, mend: str
) -> None:
    """What the registry says decides; without a network the image has to be carried here."""
    found = docker_findings.absent_image(
        "image", "x:1", registry=registry, setting="KVSYNC_CI_X", instead=instead
    )

    assert found == Finding("image", state, meaning, mend)


def test_similar_images_are_those_of_the_same_repository() -> None:
    """A tag, a digest and a registry's port are told apart."""
    images = ["kindest/node:a", "kindest/nodes:a", "localhost:5000/kindest/node:a", "node:a"]

    assert docker_findings.similar("kindest/node:b@sha256:00", images) == ["kindest/node:a"]
    assert docker_findings.similar("localhost:5000/kindest/node", images) == ["localhost:5000/kindest/node:a"]


def test_a_cluster_of_the_same_name_is_in_the_way() -> None:
    """It can be deleted or used."""
    assert docker_findings.cluster_name("kvsync-7", {"kvsync-7", "other"}) == Finding(
        "cluster name",
        FindingState.MISSING,
        "a Kind cluster named kvsync-7 exists already",
        "kind delete cluster --name kvsync-7, or use it: --reuse kvsync-7",
    )


def test_clusters_of_other_runs_are_named() -> None:
    """They are not a problem, and may have been forgotten."""
    found = docker_findings.cluster_name(
        "kvsync-8", {"kvsync-9", "kvsync-7", "kvsync-80", "not-kvsync-8", "kvsync"}
    )

    assert found == Finding(
        "cluster name",
        FindingState.OK,
        "free; other runs have kvsync-7, kvsync-80, kvsync-9 "
        "(`kvsync-ci clean` deletes those of killed runs)",
    )
    assert docker_findings.cluster_name("", {"mine"}) == Finding("cluster name", FindingState.OK, "free")


def test_what_the_kernel_lacks_is_not_available_and_keeps_no_run_from_starting() -> None:
    """Each means has its own line, with the faults that do without it."""
    found = docker_findings.kernel(ToolAnswer(exit_code=0, output="tbf\niptables\n", errors="Error: unknown"))

    assert found == [
        Finding(
            "kernel: netem",
            FindingState.UNAVAILABLE,
            "delay, jitter, corruption and reordering on the nodes will be not run",
            "use another kernel",
        ),
        Finding("kernel: tbf", FindingState.OK, "the nodes have it"),
        Finding("kernel: iptables", FindingState.OK, "the nodes have it"),
    ]
    assert is_fit(found)


@pytest.mark.parametrize(
    ("probe", "begin"),
    [
        (None, "not known until the node image is here; without it delay"),
        (
            failed("docker: no space left\nRun 'docker run --help'"),
            "could not be determined: docker: no space left;",
        ),
    ],
    ids=["nothing to ask in", "no container"],
)
def test_a_kernel_that_cannot_be_asked_is_not_judged(probe: ToolAnswer | None, begin: str) -> None:
    """Nothing is claimed of it."""
    found = docker_findings.kernel(probe)

    assert [finding.state for finding in found] == [FindingState.UNAVAILABLE] * 3
    assert found[0].meaning.startswith(begin)


def test_memory_is_needed_for_every_node() -> None:
    """Three nodes and ten pods need 2.5 GiB, a local cluster 1 GiB."""
    mend = "end other programs, or give Docker's virtual machine more"

    assert preflight.memory(4 * GIB, nodes=3) == Finding(
        "memory", FindingState.OK, "4.0 GiB free, 2.5 GiB needed"
    )
    assert preflight.memory(2 * GIB, nodes=3) == Finding(
        "memory", FindingState.MISSING, "2.0 GiB free, 2.5 GiB needed", mend
    )
    assert preflight.memory(2 * GIB, nodes=0).state is FindingState.OK


def test_a_full_disk_is_named() -> None:
    """The finding says which disk, and how much is needed."""
    assert preflight.disk(GIB, place="/data", needed=5 * GIB) == Finding(
        "disk of /data",
        FindingState.MISSING,
        "1.0 GiB free, 5.0 GiB needed",
        "free space on the disk of /data; `docker system prune` removes what Docker does not use",
    )


@pytest.mark.parametrize(
    ("instances", "watches", "state"),
    [(96, 3072, FindingState.OK), (95, 3072, FindingState.MISSING), (96, 3071, FindingState.MISSING)],
    ids=["enough", "too few instances", "too few watches"],
)
def test_the_limits_of_inotify_are_those_of_all_nodes_together(
    instances: int, watches: int, state: FindingState
) -> None:
    """Each node needs its share."""
    assert preflight.inotify(instances, watches, nodes=3).state is state


def test_all_that_is_missing_is_one_refusal_with_every_mend() -> None:
    """What is there or can be done without is not in it."""
    findings = [
        preflight.ok("docker", "version 28"),
        preflight.missing("kind", "is not installed", "install it"),
        preflight.unavailable("kernel: netem", "not-run"),
        preflight.missing("disk", "is full", "empty it"),
    ]

    with pytest.raises(CannotRun) as caught:
        require(findings, "kind")

    assert isinstance(caught.value, ClusterError)
    assert str(caught.value).splitlines() == [
        "--cluster kind cannot run here: 2 problems",
        "kind: is not installed; mend: install it",
        "disk: is full; mend: empty it",
    ]
    assert not is_fit(findings)


def test_nothing_missing_is_no_refusal() -> None:
    """A run starts although some faults will be not run."""
    require([preflight.ok("a", ""), preflight.unavailable("b", "")], "kind")
