"""What the making of a cluster leaves: its temporary files, its image on nodes that stay, half a cluster."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.outcome import Outcome
from tests.forking import Forking
from tests.integration.ci.conftest import Programs

ROOT = Path(__file__).resolve().parents[4]

STAGE = """
import sys, threading
from pathlib import Path
from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.testing.processes.ledger import Ledger
from kvsync.ci.provision.cluster_stage import ClusterStage, give_back
from kvsync.ci.stages.stage import StageContext, run_safely

run_dir, repository, image, ends = sys.argv[1:]
ledger = Ledger(Path(run_dir) / "ledger.jsonl")
context = StageContext(
    run_dir=Path(run_dir), repository=Path(repository), ledger=ledger, stop=threading.Event()
)
settings = ClusterSettings(image=image or None, node_image="kindest/node:v1.34.0", workers=0)
stage = ClusterStage(ClusterChoice("kind"), settings, reuse="mine")
result = run_safely(stage, context)
if ends:
    give_back(ledger)
print(result.outcome.name, result.reason)
"""

PIP = """
import os, sys, tempfile
tempfile.mkdtemp(prefix="pip-unpack-")
for word in sys.argv:
    if word.startswith("--wheel-dir="):
        open(word.partition("=")[2] + "/kvsync-1-py3-none-any.whl", "w").close()
if os.path.exists(os.environ["TEST"] + "/" + sys.argv[3] + "-kills"):
    os.kill(os.getppid(), 9)
"""
"""Leaves a temporary folder, as one that is killed does, and may kill the run."""

KEYS = "for word in $*; do case $word in --kubeconfig=*) echo keys > ${word#*=};; esac; done"
"""Writes a kubeconfig."""

Make = Callable[..., str]


@pytest.fixture
def make(programs: Programs, tmp_path: Path, fork: Forking) -> Make:
    """Carry the stage out for the reused cluster "mine", in a process that sees stand-ins alone."""
    programs(
        "docker",
        "version*) echo 28.2.2",
        "*'index .Config.Labels'*) :",
        "'image inspect'*) echo sha256:00",
        "info*) echo '{}'",
        "'ps --all --filter=label='*) test -e made && echo mine || :",
        "'run --rm --network=none --cap-add'*) echo tbf; echo iptables",
        "'run --rm '*) echo 3.11 x86_64",
        "build*) :",
        "'ps --all --quiet --filter=label=io.x-k8s.kind.cluster=mine') test -e made && echo n1 || :",
        "'image ls'*|'ps --all --format='*) :",
        "'exec n1 '*' images ls') "
        "test -e loaded && "
        "printf 'REF TYPE DIGEST\\ndocker.io/library/kvsync:leftovers-7 m sha256:aa 1\\n' || :",
        "'exec n1 '*' images rm '*) rm loaded",
        "rm*) /bin/rm -f made",
    )
    programs(
        "kind",
        "version) echo kind v0.33.0",
        "'get clusters') test -e made && echo mine || :",
        f"'create cluster '*) : > made; {KEYS}; "
        "test -e create-kills && kill -9 $PPID; ! test -e create-fails",
        "'delete cluster '*) rm -f made",
        f"'export kubeconfig '*) {KEYS}",
        "'load docker-image '*) mktemp -d > /dev/null; : > loaded",
    )
    programs(
        "kubectl",
        """version*) echo '{"clientVersion": {"gitVersion": "v1.34.0"}}'""",
        """*'get namespaces'*) echo '{"items": []}'""",
        "*readyz*) echo ok",
    )
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(PIP)
    repository = tmp_path / "repository"
    (repository / "kvsync").mkdir(parents=True)
    (repository / "infra/docker").mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", "README.md", "infra/docker/Dockerfile"):
        (repository / name).touch()
    (tmp_path / "tmp").mkdir()

    def run(name: str = "leftovers-7", image: str = "", *, ends: bool = False) -> str:
        env = {
            "PATH": f"{programs.folder}:/usr/bin:/bin",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "TMPDIR": str(tmp_path / "tmp"),
            "TEST": str(tmp_path),
        }
        folder = str(tmp_path / "reports" / name)
        done = fork(STAGE, folder, str(repository), image, "ends" if ends else "", env=env, cwd=ROOT)
        return f"killed by {-done.returncode}" if done.returncode < 0 else done.stdout.strip()

    return run


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The ledger of the run "leftovers-7".

    Other files clean up after a "run-7" at the same time, and that ends all processes of its name.
    """
    return Ledger(tmp_path / "reports" / "leftovers-7" / "ledger.jsonl")


def left(ledger: Ledger) -> list[str]:
    """Return what the ledger does not know to be gone, but for processes."""
    return [entry.kind for entry in leftovers([ledger.path]) if entry.kind != "process"]


def test_temporary_files_of_all_that_is_run_are_gone_with_the_stage(
    make: Make, ledger: Ledger, tmp_path: Path
) -> None:
    """Programs put them into the run's folder, which has none of them then."""
    assert make().startswith("PASSED")

    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in ledger.path.parent.iterdir()) == [
        "kind.yaml",
        "kubeconfig",
        "ledger.jsonl",
        "logs",
        "machine.json",
        "results",
    ]
    assert left(ledger) == ["node-image", "path", "image"]


@pytest.mark.parametrize("moment", ["wheel", "download"])
def test_temporary_files_of_a_killed_run_are_in_its_ledger(
    make: Make, ledger: Ledger, programs: Programs, tmp_path: Path, moment: str
) -> None:
    """What pip left when the run was killed goes with the rest."""
    (tmp_path / f"{moment}-kills").touch()
    assert make().startswith("killed by 9")
    assert left(ledger) == ["image", "path"]

    fates = clear(find(ledger.path, programs.tools), ledger, programs.tools)

    assert [why for why in fates.values() if why] == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in ledger.path.parent.iterdir()) == ["ledger.jsonl", "logs"]


def test_the_image_of_a_run_does_not_stay_in_a_cluster_that_does(
    make: Make, ledger: Ledger, programs: Programs
) -> None:
    """At its end it is removed from the nodes; the cluster, which the run made, is there for the next."""
    assert make(ends=True).startswith("PASSED")

    assert left(ledger) == []
    assert [call for call in programs.calls("docker exec") if " rm " in call] == [
        "docker exec n1 ctr images rm docker.io/library/kvsync:leftovers-7"
    ]
    assert make("leftovers-8", "somebody/kvsync:1", ends=True).startswith("PASSED")
    assert len(programs.calls("kind create")) == 1
    assert [call for call in programs.calls("docker exec") if "somebody" in call] == []


def test_half_a_cluster_is_made_anew_and_not_kept(
    make: Make, ledger: Ledger, programs: Programs, tmp_path: Path
) -> None:
    """A second attempt does not take it for whole; without one, the end of the run deletes it."""
    (tmp_path / "create-fails").touch()
    assert make(image="somebody/kvsync:1", ends=True).startswith("UNKNOWN")
    assert not (tmp_path / "made").exists()
    assert make(image="somebody/kvsync:1").startswith("UNKNOWN")
    assert (left(ledger), (tmp_path / "made").exists()) == (["kind-cluster", "path"], True)

    (tmp_path / "create-fails").unlink()
    assert make(image="somebody/kvsync:1", ends=True).startswith("PASSED")

    calls = [call.split()[1] for call in programs.calls("kind delete", "kind create", "kind load")]
    assert calls == ["delete", "create", "delete", "create", "delete", "create", "load"]
    assert (left(ledger), (tmp_path / "made").exists()) == ([], True)


def test_half_a_cluster_of_a_killed_run_is_used_by_nobody(
    make: Make, ledger: Ledger, programs: Programs, tmp_path: Path
) -> None:
    """Who wants it is told what to do; then it is made anew."""
    (tmp_path / "create-kills").touch()
    # `kind` kills `env`'s parent: itself replaced `env`, so that is the run.
    assert make(image="somebody/kvsync:1").startswith("killed by 9")
    (tmp_path / "create-kills").unlink()

    told = make("leftovers-8", "somebody/kvsync:1")
    assert told.startswith("UNKNOWN")
    assert (
        "mine was not finished by the run leftovers-7: if that run was killed, `kvsync-ci clean` deletes it"
        in told
    )

    clear(find(ledger.path, programs.tools), ledger, programs.tools)
    assert not (tmp_path / "made").exists()
    assert make("leftovers-8", "somebody/kvsync:1").startswith("PASSED")


def test_a_whole_cluster_that_a_run_was_to_keep_can_be_used(make: Make, tmp_path: Path) -> None:
    """It is in the ledger of that run, which ended, and is not a half-made one."""
    other = Ledger(tmp_path / "reports" / "leftovers-6" / "ledger.jsonl")
    other.created(other.intend("kind-cluster", "mine"), ready=True)
    (tmp_path / "made").touch()

    assert make(image="somebody/kvsync:1").startswith("PASSED")


def test_the_keys_of_a_cluster_that_stays_do_not_stay_in_a_report(make: Make, tmp_path: Path) -> None:
    """Who makes the cluster and who finds it gets them anew, and has them until the run is over."""
    for run in ("leftovers-7", "leftovers-8"):
        keys = tmp_path / "reports" / run / "kubeconfig"
        assert make(run, "somebody/kvsync:1").startswith("PASSED")
        assert keys.read_text() == "keys\n"
        assert make(run, "somebody/kvsync:1", ends=True).startswith("PASSED")
        assert not keys.exists()


def test_what_is_left_can_be_reached_until_it_is_gone(
    make: Make, ledger: Ledger, programs: Programs, tmp_path: Path
) -> None:
    """The keys stay as long as something that they open, and are tried to be removed again with it."""
    keys = tmp_path / "reports" / "leftovers-7" / "kubeconfig"
    ledger.intend("namespace", "kvsync-7-a", kubeconfig=str(keys), context="", kind_cluster="mine")
    assert make(image="somebody/kvsync:1", ends=True).startswith("PASSED")
    assert left(ledger) == ["path", "namespace"]

    programs("kubectl", "*) echo refused >&2; exit 1")
    fates = clear(find(ledger.path, programs.tools), ledger, programs.tools)
    assert fates == {
        "namespace kvsync-7-a": "cannot ask the API server: refused",
        f"path {keys}": "namespace kvsync-7-a is still there and is reached with it",
    }

    programs("kubectl", "*) :")
    assert set(clear(find(ledger.path, programs.tools), ledger, programs.tools).values()) == {""}
    assert (left(ledger), keys.exists()) == ([], False)


TEST = """
import tempfile

def test_leaves_a_file(run_dir):
    _, name = tempfile.mkstemp()
    assert name.startswith(str(run_dir))
"""


def test_temporary_files_of_tests_on_a_cluster_go_with_their_stage(ledger: Ledger, tmp_path: Path) -> None:
    """The client of Kubernetes keeps the user's keys in some, and a test that is killed removes none."""
    run_dir, tests = ledger.path.parent, tmp_path / "tests" / "e2e"
    tests.mkdir(parents=True)
    (tests / "test_one.py").write_text(TEST)
    (run_dir / "machine.json").write_text("{}")
    context = StageContext(
        run_dir=run_dir, repository=tmp_path, ledger=ledger, cluster="kind", stop=threading.Event()
    )

    result = PytestStage("e2e", "tests/e2e", timeout_s=50, clustered=True).run(context)

    assert result.outcome is Outcome.PASSED, result.reason
    assert left(ledger) == []
    assert not (run_dir / "temporary").exists()
