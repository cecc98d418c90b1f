"""The cluster that a run asks for is made, named and written down; what the run made goes at its end."""

import json
from pathlib import Path

import pytest

from kvsync.ci.run_folder import RunFolder
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.processes.ledger import leftovers
from tests.forking import Forking
from tests.integration.ci.conftest import Programs

ROOT = Path(__file__).resolve().parents[4]

RUN = """
import shutil, sys, threading
from pathlib import Path
from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.testing.processes.ledger import Ledger
from kvsync.ci.provision.cluster_stage import ClusterStage, give_back
from kvsync.ci.stages.stage import StageContext, run_safely
reuse, settings, run_dir, repository, image = sys.argv[1:]
ledger = Ledger(Path(run_dir) / "ledger.jsonl")
choice, settings = ClusterChoice("kind"), ClusterSettings.model_validate_json(settings)
stage = ClusterStage(choice, settings, reuse, image == "True")
stop = threading.Event()
context = StageContext(run_dir=Path(run_dir), repository=Path(repository), ledger=ledger, stop=stop)
print(run_safely(stage, context).reason)
shutil.copy(ledger.path, Path(run_dir) / "before-its-end.jsonl")
give_back(ledger)
"""

PIP = """
import sys
for word in sys.argv:
    if word.startswith("--wheel-dir="):
        open(word.partition("=")[2] + "/kvsync-1-py3-none-any.whl", "w").close()
"""


class Runs:
    """Runs with a Kind cluster, on a machine that has stand-ins for docker, kind and kubectl."""

    def __init__(self, folder: Path, programs: Programs, fork: Forking) -> None:
        self.folder, self.programs, self.fork = folder, programs, fork
        nodes = "name=${4##*=}; grep -qx $name clusters && echo $name-node || :"
        programs(
            "docker",
            "version*) echo 28.2.2",
            "info*) echo '{}'",
            "'ps --all --filter=label='*) cat clusters",
            f"'ps --all --quiet --filter=label=io.x-k8s.kind.cluster='*) {nodes}",
            "'rm --force --volumes '*) grep -vx ${4%-node} clusters > left; mv left clusters",
            "'image ls --filter=reference='*) grep -x ${3##*=} images || :",
            "'image rm --force '*) grep -vx $4 images > left; mv left images",
            "'image inspect'*) echo sha256:00",
            "*--entrypoint=python*) echo 3.11 x86_64",
            "run*) echo tbf; echo iptables",
            "'build '*) echo ${3#--tag=} >> images",
        )
        programs(
            "kind",
            "version) echo kind v0.33.0",
            "'get clusters') cat clusters",
            "'create cluster '*) echo ${3#--name=} >> clusters",
            "'delete cluster '*|'export kubeconfig '*|'load docker-image '*) :",
        )
        programs(
            "kubectl",
            """version*) echo '{"clientVersion": {"gitVersion": "v1.34.0"}}'""",
            "*'get namespaces'*) echo '{\"items\": []}'",
            "*readyz) echo ok",
        )
        (folder / "pip").mkdir()
        (folder / "pip" / "__init__.py").touch()
        (folder / "pip" / "__main__.py").write_text(PIP)
        (folder / "repository" / "kvsync").mkdir(parents=True)
        for name in ("requirements.lock", "pyproject.toml", "README.md", "infra/docker/Dockerfile"):
            (folder / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "repository" / name).touch()

    def __call__(self, run: str, *, reuse: str = "", with_image: bool = True, **settings: object) -> Machine:
        """Make what a run needs, and give it back; returns where its clusters were to be made."""
        said = self.asked(run, reuse=reuse, with_image=with_image, **settings)
        machine = RunFolder(self.folder / run).machine
        assert machine.exists(), said
        return Machine.read(machine)

    def asked(self, run: str, *, reuse: str = "", with_image: bool = True, **settings: object) -> str:
        """Do the same; returns why there is nothing, "" if there is something."""
        given, repository = json.dumps({"workers": 0, **settings}), self.folder / "repository"
        done = self.fork(
            RUN,
            *(reuse, given, str(self.folder / run), str(repository), str(with_image)),
            env={"PATH": f"{self.programs.folder}:/usr/bin:/bin", "PYTHONPATH": f"{self.folder}:{ROOT}"},
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def ledger(self, run: str) -> set[tuple[str, str]]:
        """Return what the ledger of a run did not know to be gone before the end of the run."""
        entries = leftovers([self.folder / run / "before-its-end.jsonl"])
        return {(entry.kind, entry.name.removeprefix(f"{self.folder}/")) for entry in entries}

    def left(self, run: str) -> list[str]:
        """Return what of a run is in its ledger at last."""
        return [entry.kind for entry in leftovers([self.folder / run / "ledger.jsonl"])]

    def there(self, what: str, *names: str) -> list[str]:
        """Return which "clusters" or "images" there are, of runs; first put these there."""
        with (self.folder / what).open("a+") as file:
            file.writelines(f"{name}\n" for name in names)
            file.seek(0)
            return file.read().split()


@pytest.fixture
def runs(tmp_path: Path, programs: Programs, fork: Forking) -> Runs:
    """A machine on which others have something that has nearly the name of ours."""
    runs = Runs(tmp_path, programs, fork)
    runs.there("clusters", "kvsync-70", "dev2")
    runs.there("images", "kvsync:70")
    return runs


def options(programs: Programs, command: str) -> list[list[str]]:
    """Return the options of all calls of a command, but for places."""
    calls = [line.removeprefix(command).split() for line in programs.log.splitlines() if command in line]
    return [[word for word in call if "/bin/" not in word and "config=" not in word] for call in calls]


def test_a_run_has_a_cluster_and_an_image_of_its_own_until_its_end(runs: Runs, programs: Programs) -> None:
    """Both have its name and are in its ledger, as the kubeconfig is; the nodes are of the image it wants."""
    machine = runs("7", node_image="kindest/node:v1", create_timeout_s=9)

    assert (machine.kind, machine.image) == ("kvsync-7", "kvsync:7")
    assert runs.ledger("7") == {
        ("kind-cluster", "kvsync-7"),
        ("image", "kvsync:7"),
        ("path", "7/kubeconfig"),
    }
    assert options(programs, "kind create cluster") == [
        ["--name=kvsync-7", "--wait=9s", "--image=kindest/node:v1"]
    ]
    assert options(programs, "kind load docker-image") == [["kvsync:7", "--name=kvsync-7"]]
    assert runs.left("7") == []
    assert (runs.there("clusters"), runs.there("images")) == (["kvsync-70", "dev2"], ["kvsync:70"])


def test_an_image_that_is_there_already_stays(runs: Runs, programs: Programs) -> None:
    """It is not the run's; and what the nodes are is left to kind."""
    runs.there("images", "somebody/kvsync:1")

    machine = runs("7", image="somebody/kvsync:1", create_timeout_s=9)

    assert machine.image == "somebody/kvsync:1"
    assert runs.ledger("7") == {("kind-cluster", "kvsync-7"), ("path", "7/kubeconfig")}
    assert options(programs, "kind create cluster") == [["--name=kvsync-7", "--wait=9s"]]
    assert runs.there("images") == ["kvsync:70", "somebody/kvsync:1"]


def test_a_project_of_its_own_has_the_pipelines_manifests(runs: Runs) -> None:
    """Unless it brings some: they are what the image is started by."""
    ours = runs("7", image="somebody/kvsync:1").manifests
    (runs.folder / "repository" / "infra/manifests").mkdir()
    (runs.folder / "repository" / "infra/manifests/engine.yaml").touch()
    theirs = runs("8", image="somebody/kvsync:1").manifests

    assert ours == str(ROOT / "infra/manifests")
    assert theirs == str(runs.folder / "repository" / "infra/manifests")


def test_without_engines_nothing_is_built_or_loaded(runs: Runs, programs: Programs) -> None:
    """The repository is a project of its own then, with nothing that an image could be built from."""
    (runs.folder / "repository" / "requirements.lock").unlink()

    machine = runs("7", reuse="dev", with_image=False)

    assert (machine.kind, machine.image) == ("dev", "")
    assert programs.calls("kind load") == programs.calls("docker build") == []


def test_a_project_that_no_image_can_be_built_from_is_not_run(runs: Runs, programs: Programs) -> None:
    """Nothing is made for its stages with engines; the reason names what the owner can set."""
    (runs.folder / "repository" / "infra/docker/Dockerfile").unlink()

    said = runs.asked("7")

    assert said.startswith("not run: --cluster kind cannot run here: image: none is set, and none can be")
    assert "has no infra/docker/Dockerfile; mend: set KVSYNC_CI_IMAGE" in said
    assert programs.calls("kind create") == []
    assert (runs.ledger("7"), runs.left("7")) == (set(), [])


def test_a_cluster_to_be_used_again_is_made_once_and_stays(runs: Runs, programs: Programs) -> None:
    """The run that finds none of that name makes it; the next one uses it; no end of a run deletes it."""
    first = runs("7", reuse="dev", image="somebody/kvsync:1")
    second = runs("8", reuse="dev", image="somebody/kvsync:1")

    assert (first.kind, second.kind) == ("dev", "dev")
    assert runs.there("clusters") == ["kvsync-70", "dev2", "dev"]
    assert [options(programs, f"kind {each}") for each in ("create cluster", "export kubeconfig")] == [
        [["--name=dev", "--wait=300s"]],
        [["--name=dev"]],
    ]
    assert ("kind-cluster", "dev") not in runs.ledger("7") | runs.ledger("8")
    assert (runs.left("7"), runs.left("8")) == ([], [])


def test_a_new_cluster_that_does_not_answer_yet_is_waited_for(runs: Runs, programs: Programs) -> None:
    """On a busy machine its API server is late: once kind is done, and again when an image was unpacked."""
    programs(
        "kubectl",
        """version*) echo '{"clientVersion": {"gitVersion": "v1.34.0"}}'""",
        "*'get namespaces'*) test -e up && echo '{\"items\": []}'",
        "*readyz) echo ok >> asked; test $(wc -l < asked) -ge 3 && touch up",
    )

    assert runs("7", reuse="dev", image="somebody/kvsync:1").kind == "dev"
    assert len(programs.calls("kubectl get")) == 4
