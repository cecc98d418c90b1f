"""The doctor on machines that lack one thing or another: it says which, changes nothing, and is quick."""

import json
from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.doctor.doctor import examine, kubeconfigs
from kvsync.ci.doctor.findings import FindingState, is_fit
from kvsync.ci.doctor.kubernetes import TO_INJECT
from kvsync.testing.processes.tools import Tools
from tests.integration.ci.conftest import Programs

KIND, LOCAL = ClusterChoice("kind"), ClusterChoice("local")
NODE_IMAGE = "kindest/node:v1.34.0"
SETTINGS = ClusterSettings(node_image=NODE_IMAGE, workers=0, base_image="python:3.11-slim")
DEV = ClusterSettings(image="registry/kvsync:1", allowed_contexts=("dev",))

VIEW = json.dumps({"contexts": [{"name": "dev"}, {"name": "prod"}], "current-context": "dev"})
KUBECTL = """version*) echo '{"clientVersion": {"gitVersion": "v1.34.0"}}'"""
CONFIG = f"config*) echo '{VIEW}'"

Found = dict[str, tuple[FindingState, str]]


def docker(*cases: str) -> list[str]:
    """Return what a Docker does that has everything, after these other cases."""
    return [
        *cases,
        "version*) echo 28.2.2",
        "ps*) echo mine",
        "'image inspect'*) echo sha256:00",
        "'image ls'*) echo kindest/node:v1.20.2; echo python:3.11-slim",
        'info*) echo \'{"MemTotal": 34359738368, "DockerRootDir": "/"}\'',
        "'run --rm --network=none'*) echo tbf; echo iptables",
    ]


def look(
    choice: ClusterChoice,
    settings: ClusterSettings,
    tools: Tools,
    *,
    name: str = "",
    reuse: str = "",
    with_image: bool = True,
) -> Found:
    """Return what the doctor finds, by the name of the check."""
    findings = examine(
        choice, settings, folder=Path(), name=name, reuse=reuse, tools=tools, with_image=with_image
    )
    return {finding.check: (finding.state, finding.meaning) for finding in findings}


def states(found: Found) -> dict[str, FindingState]:
    """Return what is not in order, without what depends on the machine that the tests run on."""
    here = ("memory", "disk", "inotify")
    return {
        check: state
        for check, (state, _) in found.items()
        if state is not FindingState.OK and not check.startswith(here)
    }


@pytest.fixture
def machine(programs: Programs) -> Programs:
    """A machine with all that a Kind cluster needs, but for netem."""
    programs("docker", *docker())
    programs("kind", "version) echo kind v0.33.0")
    programs("kubectl", KUBECTL)
    return programs


def test_a_machine_that_has_everything_is_fit(machine: Programs) -> None:
    """What is missing are faults that the kernel cannot do, and Chaos Mesh."""
    found = look(KIND, SETTINGS, machine.tools)

    assert states(found) == {
        "kernel: netem": FindingState.UNAVAILABLE,
        "Chaos Mesh": FindingState.UNAVAILABLE,
    }
    assert found["node image"] == (FindingState.OK, f"{NODE_IMAGE} is here")
    assert found["kind"] == (FindingState.OK, "kind v0.33.0")
    assert machine.calls("docker pull", "docker rm", "kind create", "kind delete") == []


def test_a_machine_with_nothing_names_all_three_programs(programs: Programs) -> None:
    """One missing program hides no other."""
    found = look(KIND, SETTINGS, programs.tools)

    assert {check: found[check] for check in ("docker", "kind", "kubectl")} == {
        "docker": (FindingState.MISSING, "docker is not installed"),
        "kind": (FindingState.MISSING, "kind is not installed"),
        "kubectl": (FindingState.MISSING, "kubectl is not installed"),
    }
    assert found["node image"] == (FindingState.UNAVAILABLE, "not looked at: see docker")


def test_without_docker_kind_is_still_looked_at(machine: Programs) -> None:
    """A daemon that does not answer is the only thing that is missing."""
    machine("docker", "version*) echo 'Cannot connect to the Docker daemon' >&2; exit 1")

    found = look(KIND, SETTINGS, machine.tools)

    assert [check for check, (state, _) in found.items() if state is FindingState.MISSING] == ["docker"]
    assert found["kind"] == (FindingState.OK, "kind v0.33.0")


def test_an_image_that_cannot_be_pulled_is_missing_and_others_are_offered(machine: Programs) -> None:
    """The registry is asked, nothing is pulled."""
    machine(
        "docker",
        *docker("'image inspect'*) exit 1", "'manifest inspect'*) echo 'dial tcp: no such host' >&2; exit 1"),
    )

    findings = examine(KIND, SETTINGS, folder=Path(), tools=machine.tools)

    node, base = (next(f for f in findings if f.check == check) for check in ("node image", "base image"))
    assert (node.state, base.state) == (FindingState.MISSING, FindingState.MISSING)
    assert node.mend.startswith(
        "set KVSYNC_CI_KIND_NODE_IMAGE to one that is here (kindest/node:v1.20.2), or"
    )
    assert machine.calls("docker pull") == []
    assert not is_fit(findings)


def test_an_image_that_can_be_pulled_is_no_problem(machine: Programs) -> None:
    """It will be pulled; until then the kernel is asked in another node image that is here."""
    machine("docker", *docker("'image inspect'*) exit 1", "'manifest inspect'*) echo '{}'"))

    found = look(KIND, SETTINGS, machine.tools)

    assert found["node image"] == (FindingState.OK, f"{NODE_IMAGE} is not here; it will be pulled")
    assert found["kernel: tbf"] == (FindingState.OK, "the nodes have it")
    (run,) = machine.calls("docker run")
    assert "kindest/node:v1.20.2 5 sh -c" in run


def test_the_image_that_kind_was_released_with_is_the_default(machine: Programs) -> None:
    """It is read from the program; where that does not tell, nothing is claimed."""
    built_in = f"kindest/node:v1.35.0@sha256:{'0a' * 32}"
    machine("kind", f"version) : {built_in}; echo kind v0.34.0")
    default = ClusterSettings(workers=0)

    assert look(KIND, default, machine.tools)["node image"] == (FindingState.OK, f"{built_in} is here")

    machine("kind", "version) echo kind v0.35.0")

    assert look(KIND, default, machine.tools)["node image"] == (
        FindingState.OK,
        "the one that kind was released with; it is pulled if it is not here",
    )


def test_an_image_that_exists_already_needs_no_base_image(machine: Programs) -> None:
    """Then nothing is built."""
    settings = SETTINGS.model_copy(update={"image": "kvsync:1"})

    found = look(KIND, settings, machine.tools)

    assert found["image"] == (FindingState.OK, "kvsync:1 is here")
    assert "base image" not in found


@pytest.mark.parametrize("choice", [KIND, ClusterChoice("kubeconfig")], ids=str)
def test_a_run_that_starts_no_engines_needs_no_image(machine: Programs, choice: ClusterChoice) -> None:
    """Neither one to build on, nor one that exists."""
    found = look(choice, SETTINGS, machine.tools, with_image=False)

    assert {"image", "base image"}.isdisjoint(found)


def test_a_cluster_of_the_same_name_is_a_problem_unless_it_is_to_be_used(machine: Programs) -> None:
    """A cluster in use needs no node image, either."""
    machine("docker", *docker("ps*) echo kvsync-7"))

    taken = look(KIND, SETTINGS, machine.tools, name="kvsync-7")
    used = look(KIND, SETTINGS, machine.tools, name="kvsync-8", reuse="kvsync-7")

    assert taken["cluster name"] == (FindingState.MISSING, "a Kind cluster named kvsync-7 exists already")
    assert used["cluster name"] == (FindingState.OK, "kvsync-7 is there, and will be used")
    assert "node image" not in used


def test_an_answer_that_makes_no_sense_hides_no_other_check(machine: Programs) -> None:
    """A check that breaks is a finding, and the others are made."""
    machine("kubectl", KUBECTL, "config*) echo '{\"contexts\": [{}]}'")

    found = look(ClusterChoice("kubeconfig"), DEV, machine.tools)

    assert found["doctor"] == (FindingState.MISSING, "a check broke: KeyError('name')")
    assert found["kubectl"] == (FindingState.OK, "v1.34.0")


def test_a_local_cluster_needs_no_program_at_all() -> None:
    """Only memory and disk are looked at."""
    assert sorted(look(LOCAL, SETTINGS, Tools("/nowhere"))) == ["disk of .", "memory"]


def test_a_context_that_is_not_allowed_is_not_asked_anything(programs: Programs) -> None:
    """Not one request reaches a cluster that runs may not touch."""
    programs("kubectl", KUBECTL, CONFIG)

    found = look(ClusterChoice("kubeconfig", "prod"), DEV, programs.tools)

    assert states(found) == {
        "context": FindingState.MISSING,
        "API server": FindingState.UNAVAILABLE,
        "permissions": FindingState.UNAVAILABLE,
        "namespaces": FindingState.UNAVAILABLE,
        "Chaos Mesh": FindingState.UNAVAILABLE,
    }
    assert sorted(programs.calls("kubectl")) == ["kubectl config view", "kubectl version"]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("", ["home/.kube/config"]),
        ("absent:b:a", ["b", "a"]),
        (":a:", ["a"]),
        ("absent", []),
    ],
    ids=["none is named", "those that exist, in order", "one among nothing", "none that exists"],
)
def test_the_files_that_kubectl_reads_by_itself(tmp_path: Path, named: str, found: list[str]) -> None:
    """KUBECONFIG's, or the one in the home directory; each with its whole path."""
    for name in ("a", "b", "home/.kube/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = ":".join(str(tmp_path / name) if name else "" for name in named.split(":"))

    files = kubeconfigs({"HOME": str(tmp_path / "home"), "KUBECONFIG": paths})

    assert files == [tmp_path / name for name in found]


def test_an_api_server_that_does_not_answer_is_asked_no_more(programs: Programs) -> None:
    """The finding has kubectl's reason."""
    programs("kubectl", KUBECTL, CONFIG, "*/version) echo 'Unable to connect: i/o timeout' >&2; exit 1")

    found = look(ClusterChoice("kubeconfig"), DEV, programs.tools)

    assert found["API server"] == (FindingState.MISSING, "does not answer: Unable to connect: i/o timeout")
    assert found["permissions"] == (FindingState.UNAVAILABLE, "not looked at: see API server")


def test_a_cluster_that_can_be_used_is_fit(programs: Programs) -> None:
    """Its context, its API server, our rights, old namespaces and Chaos Mesh are all looked at."""
    granted = "; ".join(f"echo '{verb} {kind}/ true'" for verb, kind, _ in TO_INJECT)
    programs(
        "kubectl",
        KUBECTL,
        CONFIG,
        "*'--context=dev --request-timeout=5s get --raw /version') echo '{\"gitVersion\": \"v1.34.0\"}'",
        f"*'create --filename=-'*) echo 'create namespaces/ true'; {granted}",
        "*'get namespaces'*) echo '{\"items\": []}'",
        "*'get crd'*) echo x/podchaos.chaos-mesh.org",
        "*'get deployments'*) echo chaos-controller-manager 1",
    )

    found = look(ClusterChoice("kubeconfig"), DEV, programs.tools)

    assert found["context"] == (FindingState.OK, "dev is allowed")
    assert found["API server"] == (FindingState.OK, "answers; Kubernetes v1.34.0")
    assert found["permissions"][0] is FindingState.MISSING
    assert "create namespaces," not in found["permissions"][1]
    assert "delete namespaces," in found["permissions"][1]
    assert found["namespaces"] == (FindingState.OK, "of other runs: none")
    assert found["Chaos Mesh"] == (FindingState.OK, "kinds of experiment: 1; its controller runs")
