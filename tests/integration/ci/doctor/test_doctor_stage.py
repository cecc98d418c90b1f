"""The cluster stage looks at what it was given before it makes anything, no matter who started the run."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from kvsync.ci.doctor.findings import Finding, FindingState
from kvsync.ci.doctor.kubernetes import NEEDED, TO_DRAIN
from kvsync.ci.provision.image_trial import try_image
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.forking import Forking
from tests.integration.ci.conftest import Programs
from tests.integration.ci.doctor.nodes import Nodes, serving
from tests.integration.ci.doctor.test_doctor import docker

ROOT = Path(__file__).resolve().parents[4]

STAGE = """
import json, os, sys, threading
from pathlib import Path
from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.testing.processes.ledger import Ledger
from kvsync.ci.provision.cluster_stage import ClusterStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.ci.stages.environment import stage_environment
cluster, reuse, settings, run_dir, repository = sys.argv[1:]
stage = ClusterStage(ClusterChoice.parse(cluster), ClusterSettings.model_validate_json(settings), reuse)
ledger = Ledger(Path(run_dir) / "ledger.jsonl")
environ = stage_environment(os.environ, trusted=True)
run_safely(stage, StageContext(
    run_dir=Path(run_dir), repository=Path(repository), ledger=ledger, environ=environ, stop=threading.Event()
))
"""

VERSION = """version*) echo '{"clientVersion": {"gitVersion": "v1.34.0"}}'"""
RIGHTS = "; ".join(
    f"echo {verb} {resource if '/' in resource else resource + '/'} true"
    for verb, resource, _ in (*NEEDED, *TO_DRAIN)
)
GOOD = [
    VERSION,
    "*'get --raw /version') echo '{\"gitVersion\": \"v1.34.0\"}'",
    f"*'create --filename=-'*) {RIGHTS}",
    "*'get namespaces'*) echo '{\"items\": []}'",
    "*'get crd'*) :",
    "*'get deployments'*) :",
    "*--raw=/readyz) echo ok",
]

EMPTY: Mapping[str, str] = MappingProxyType({})

STARTED = {
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [
        {
            "name": "engine",
            "image": "i",
            "imageID": "i",
            "ready": True,
            "restartCount": 0,
            "containerID": "c://1",
        }
    ],
}

Stage = Callable[..., StageResult]


def waiting(reason: str, message: str, restarts: int = 0) -> dict[str, object]:
    """Return the status of a pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    fields = {"name": "engine", "image": "i", "imageID": "", "ready": False, "restartCount": restarts}
    return {"containerStatuses": [{**fields, "state": state}]}


def _file(path: Path) -> Path:
    path.touch()
    return path


def view(*names: str, current: str) -> str:
    """Return what `kubectl config view` of a file with these contexts prints, as a case of a stand-in."""
    document = {"contexts": [{"name": name} for name in names], "current-context": current}
    return f"echo '{json.dumps(document)}'"


@pytest.fixture
def stage(programs: Programs, tmp_path: Path, fork: Forking) -> Stage:
    """Run the stage in a process that finds only the given programs; returns its result."""
    for name in ("env", "sh"):
        (programs.folder / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    run_dir = tmp_path / "7"
    run_dir.mkdir()

    def run(
        cluster: str, *, reuse: str = "", variables: Mapping[str, str] = EMPTY, **settings: object
    ) -> StageResult:
        given = {"image": "registry/kvsync:1", "allowed_contexts": ["dev"], **settings}
        done = fork(
            STAGE,
            *(cluster, reuse, json.dumps(given), str(run_dir), str(ROOT)),
            env={"PATH": str(programs.folder), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **variables},
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout
        result = RunFolder(run_dir).result("cluster")
        assert result
        return result

    return run


def test_a_context_that_is_not_allowed_is_refused_before_it_is_asked_anything(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """The reason has the doctor's words; the API server hears nothing, and no machine is written down."""
    programs("kubectl", f"*'config view'*) {view('dev', 'prod', current='dev')}", *GOOD)

    result = stage("kubeconfig:prod", kubeconfig=str(_file(tmp_path / "config")))

    assert result.outcome is Outcome.UNKNOWN
    assert [check.kind for check in result.checks] == ["not-run"]
    assert result.reason == (
        "not run: --cluster kubeconfig:prod cannot run here: "
        "context: prod is not allowed: a run touches only contexts that are allowed by name; mend: "
        "set KVSYNC_CI_ALLOWED_CONTEXTS=prod, or allowed_contexts in kvsync-ci.toml, "
        "if runs may use that cluster"
    )
    assert {call.split()[1] for call in programs.calls("kubectl")} == {"config", "version"}
    assert not RunFolder(tmp_path / "7").machine.exists()


def test_the_context_and_the_file_that_are_current_are_written_down(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """What is current may change while the run goes on, and must not matter to it or to `clean`."""
    programs("kubectl", f"*'config view'*) {view('dev', current='dev')}", *GOOD)
    with serving(Nodes(STARTED)) as nodes:
        nodes.kubeconfig(tmp_path / "mine")
        result = stage("kubeconfig", variables={"KUBECONFIG": "absent:mine"})

    machine = Machine.read(RunFolder(tmp_path / "7").machine)
    assert result.outcome is Outcome.PASSED, result.reason
    assert (machine.kubeconfig, machine.context) == (str(tmp_path / "mine"), "dev")
    assert {"kubeconfig": str(tmp_path / "mine"), "context": "dev"}.items() <= machine.access.items()
    assert programs.log.splitlines()[-1] == (
        f"kubectl --kubeconfig={tmp_path / 'mine'} --context=dev --request-timeout=5s get --raw=/readyz"
    )


def test_of_several_files_the_one_that_has_the_context_is_taken(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """As kubectl does it: the first that has it."""
    first, second = view("other", current="other"), view("dev", current="dev")
    programs("kubectl", f"*/one' 'config*) {first}", f"*'config view'*) {second}", *GOOD)
    with serving(Nodes(STARTED)) as nodes:
        for name in ("one", "two", "three"):
            nodes.kubeconfig(tmp_path / name)
        result = stage("kubeconfig:dev", variables={"KUBECONFIG": "one:two:three"})

    assert result.outcome is Outcome.PASSED, result.reason
    assert Machine.read(RunFolder(tmp_path / "7").machine).kubeconfig == str(tmp_path / "two")


def test_an_image_that_starts_is_tried_and_nothing_of_it_is_left(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """One engine of it was started in a namespace of the run, which is gone and no more in the ledger."""
    programs("kubectl", f"*'config view'*) {view('dev', current='dev')}", *GOOD)
    with serving(Nodes(STARTED)) as nodes:
        result = stage("kubeconfig", kubeconfig=str(nodes.kubeconfig(tmp_path / "config")))

    assert [check.name for check in result.checks] == [
        "check whether the cluster can be used",
        "wait until the API server is ready",
        "start a pod of the image",
    ]
    assert result.outcome is Outcome.PASSED
    assert (nodes.images, nodes.namespaces) == (["registry/kvsync:1"], [])
    assert leftovers([tmp_path / "7" / "ledger.jsonl"]) == []


def test_an_image_that_does_not_start_is_one_clear_reason(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """It is said once, in Kubernetes' words and with a mend, before any test."""
    programs("kubectl", f"*'config view'*) {view('dev', current='dev')}", *GOOD)
    with serving(Nodes(waiting("ImagePullBackOff", "pull access denied"))) as nodes:
        file = nodes.kubeconfig(tmp_path / "config")
        result = stage("kubeconfig", kubeconfig=str(file), ready_timeout_s=0.5)

    assert result.outcome is Outcome.UNKNOWN
    assert [check.kind for check in result.checks] == ["not-run"]
    assert "image: registry/kvsync:1 cannot be pulled on a node of dev: ImagePullBackOff: " in result.reason
    assert "mend: push it" in result.reason
    assert nodes.namespaces == []
    assert not RunFolder(tmp_path / "7").machine.exists()


def trial(nodes: Nodes, folder: Path, stop: threading.Event) -> Finding:
    """Try an image there, in this process."""
    machine = Machine(
        kubeconfig=str(nodes.kubeconfig(folder / "config")),
        context="dev",
        image="registry/kvsync:1",
        manifests=str(ROOT / "infra/manifests"),
        ready_timeout_s=0.5,
    )
    return try_image(machine, ledger=Ledger(folder / "ledger.jsonl", run="7"), stop=stop)


@pytest.mark.parametrize(
    ("status", "said", "mend"),
    [
        (
            waiting("ImagePullBackOff", "pull access denied"),
            "registry/kvsync:1 cannot be pulled on a node of dev: ImagePullBackOff: pull access denied",
            "push it",
        ),
        (
            waiting("CrashLoopBackOff", "back-off 40s", restarts=3),
            "no engine starts from registry/kvsync:1: CrashLoopBackOff: back-off 40s; it said: no module",
            "build it",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes have room"}]},
            "no engine starts from registry/kvsync:1: 0/3 nodes have room",
            "build it",
        ),
    ],
    ids=["it cannot be pulled", "it is another program", "there is no room for it in time"],
)
def test_what_keeps_an_image_from_starting(
    tmp_path: Path, status: dict[str, object], said: str, mend: str
) -> None:
    """What is done about it depends on what it is."""
    with serving(Nodes(status)) as nodes:
        finding = trial(nodes, tmp_path, threading.Event())

    assert (finding.check, finding.state) == ("image", FindingState.MISSING)
    assert finding.meaning.startswith(said)
    assert finding.mend.startswith(mend)
    assert nodes.namespaces == []


def test_a_trial_that_is_interrupted_is_soon_over_and_in_the_ledger(tmp_path: Path) -> None:
    """Its namespace is being deleted; that it is gone is for the end of the run to see."""
    stop = threading.Event()
    stop.set()
    with serving(Nodes(waiting("ContainerCreating", ""))) as nodes:
        finding = trial(nodes, tmp_path, stop)

    assert finding.meaning == "not fully tried: the run was interrupted"
    assert nodes.namespaces == []
    (entry,) = leftovers([tmp_path / "ledger.jsonl"])
    assert (entry.kind, entry.facts["context"]) == ("namespace", "dev")


def test_a_namespace_that_is_stuck_in_a_reused_kind_cluster_is_found(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """As in any other cluster: it is named with what holds it, and no stage runs."""
    stuck = {
        "metadata": {
            "name": "kvsync-old-a",
            "deletionTimestamp": "2026-01-02T03:04:05Z",
            "finalizers": ["example.org/held"],
        }
    }
    programs("docker", *docker("ps*) echo dev"))
    programs(
        "kind",
        "version) echo kind v0.33.0",
        "'get clusters') echo dev",
        "'export kubeconfig'*) :",
        "load*) :",
    )
    programs("kubectl", VERSION, f"*'get namespaces'*) echo '{json.dumps({'items': [stuck]})}'", *GOOD)

    result = stage("kind", reuse="dev", workers=0)

    assert result.outcome is Outcome.UNKNOWN
    assert "namespaces: kvsync-old-a is stuck in Terminating: finalizers" in result.reason
    assert "mend: delete what holds it" in result.reason
    assert not RunFolder(tmp_path / "7").machine.exists()


def test_a_login_that_stages_do_not_see_is_found_before_them(
    programs: Programs, stage: Stage, tmp_path: Path
) -> None:
    """The API server is asked as tests will ask it: with an environment without secrets."""
    login = (
        '[ "$CLOUD_TOKEN" ] || { echo \'exec: plugin failed\' >&2; exit 1; }; echo \'{"gitVersion": "v1"}\''
    )
    programs(
        "kubectl", f"*'config view'*) {view('dev', current='dev')}", f"*'get --raw /version') {login}", *GOOD
    )

    result = stage(
        "kubeconfig", kubeconfig=str(_file(tmp_path / "config")), variables={"CLOUD_TOKEN": "s3cret"}
    )

    assert result.outcome is Outcome.UNKNOWN
    assert "API server: answers us, but not tests, whose environment has no secrets" in result.reason
