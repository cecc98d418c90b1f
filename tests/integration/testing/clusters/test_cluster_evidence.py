"""What a run on Kubernetes keeps of a cluster that went wrong, how it is linked, and whose fault it is."""

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.page.evidence import Evidence
from kvsync.ci.page.page import render
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Check, Outcome, StageResult
from tests.integration.testing.clusters.api_server import ApiServer

pytestmark = pytest.mark.timeout(240)

E2E = Path(__file__).parents[3] / "e2e" / "conftest.py"

KUBECTL = """#!/bin/sh
case "$*" in
  *proxy*) echo "Starting to serve on {address}"; exec sleep 60 ;;
  *describe*) echo "described"; sleep {describe_s}; echo "to its end" ;;
  *get*) echo "kubectl $*" ;;
esac
"""
DOCKER = """#!/bin/sh
case "$*" in
  ps*) echo node-1; echo node-2 ;;
  *journalctl*) echo "journal of $2" ;;
esac
"""

OF_ANY = {"pods.txt", "events.txt", "describe.txt", "node-1-journal.log", "node-2-journal.log", "gateway.log"}
"""What there is of every cluster, whatever its gateway does."""

RunTests = Callable[..., StageResult]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API server."""
    with ApiServer().serving() as server:
        yield server


@pytest.fixture
def context(tmp_path: Path, api: ApiServer) -> StageContext:
    """A run on the cluster of this API server, with the fixtures of the end-to-end tests."""
    folder, programs, tests = tmp_path / "run-1", tmp_path / "bin", tmp_path / "repository" / "tests" / "some"
    tests.mkdir(parents=True)
    programs.mkdir()
    (tests / "conftest.py").write_text(E2E.read_text())
    for name, text in {
        "kubectl": KUBECTL.format(address=api.address, describe_s=0),
        "docker": DOCKER,
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    ledger = Ledger(folder / "ledger.jsonl")
    api.machine(tmp_path).write(RunFolder(folder).machine)
    return StageContext(
        run_dir=folder,
        repository=tmp_path / "repository",
        ledger=ledger,
        cluster="kind",
        environ={"PATH": f"{programs}:/usr/bin:/bin"},
        stop=threading.Event(),
    )


@pytest.fixture
def run_tests(context: StageContext) -> RunTests:
    """Run a stage over one test file with this content."""

    def run(code: str, timeout_s: float = 200) -> StageResult:
        (context.repository / "tests" / "some" / "test_it.py").write_text(code)
        return run_safely(PytestStage("some", "tests/some", timeout_s, clustered=True), context)

    return run


def by_name(result: StageResult) -> dict[str, Check]:
    """Return the checks by their short names."""
    return {check.name.rpartition("::")[2]: check for check in result.checks}


def linked(check: Check, run_dir: Path) -> dict[str, str]:
    """Return the contents of all that is linked beside a check, by the name of the file."""
    paths = check.properties.get("evidence", "").splitlines()
    return {path.rpartition("/")[2]: (run_dir / path).read_text() for path in paths}


def unlinked(result: StageResult) -> list[str]:
    """Return the evidence of checks that the page of a run does not link."""
    report = Report(
        run="run-1",
        started_at=result.started_at,
        duration_s=1.0,
        command="",
        stages=[result],
        parameters={},
        versions={},
        machine={},
    )
    page = render(report, Evidence(), [])
    paths = [path for check in result.checks for path in check.properties.get("evidence", "").split()]
    return [path for path in paths if f'<a href="{path}">' not in page]


def test_each_failure_has_its_evidence_and_its_verdict(
    api: ApiServer, context: StageContext, run_tests: RunTests
) -> None:
    """No image and no node are no verdict, a gateway that crashes is one; each has all there is, linked."""
    result = run_tests(
        "from kvsync.testing.errors import InfrastructureError\n"
        "def test_breaks(own_cluster): raise InfrastructureError('cannot list pods')\n"
        "def test_no_image(own_cluster): pass\n"
        "def test_no_node(own_cluster): pass\n"
        "def test_crashes(own_cluster): pass\n"
        "def test_fails(own_cluster): assert False\n"
        "def test_good(own_cluster): pass\n"
        "def test_stuck(own_cluster): pass\n"
    )

    checks = by_name(result)
    files = {name: linked(check, context.run_dir) for name, check in checks.items()}
    assert {name: check.kind for name, check in checks.items()} == {
        "test_breaks": "infra-error",
        "test_no_image": "infra-error",
        "test_no_node": "infra-error",
        "test_crashes": "error",
        "test_fails": "failed",
        "test_good": "passed",
        "test_stuck": "infra-error",
    }
    for name in ("test_no_image", "test_no_node", "test_crashes"):
        assert files[name].keys() >= {*OF_ANY, "gateway-1.log"}
        assert f"evidence: {context.run_dir / 'evidence'}" in checks[name].detail
    assert files["test_crashes"]["gateway-1-previous.log"] == "earlier words of gateway-1"
    assert files["test_crashes"]["node-2-journal.log"] == "journal of node-2\n"
    assert files["test_crashes"]["describe.txt"] == "described\nto its end\n"
    failed = files["test_fails"]
    assert failed.keys() >= {
        *OF_ANY,
        "gateway-0-status.json",
        "gateway-0-index.json",
        "engine-97.log",
        "engine-97-previous.log",
        "engine-97-blocks.json",
        "engine-98.log",
        "engine-00.log",
        "engine-00-blocks.json",
    }
    assert "engine-19.log" not in failed
    assert failed["gateway-0-index.json"] == '{"of": "gateway-1:8080", "what": ["index", "dump"]}'
    assert unlinked(result) == []
    assert (context.run_dir / "logs" / "test-good" / "gateway-1.log").read_text() == "words of gateway-1"
    stuck = checks["test_stuck"].detail
    assert "test-stuck" in stuck
    assert "take its finalizers away; then `kvsync-ci clean`" in stuck
    left = [entry.name for entry in leftovers([context.ledger.path]) if entry.kind == "namespace"]
    assert left == api.namespaces == [name for name in api.namespaces if name.endswith("test-stuck")]


def test_a_product_that_failed_is_no_trouble_of_the_machine(
    api: ApiServer, context: StageContext, run_tests: RunTests
) -> None:
    """An index that forgets nothing fails its test, though its cluster cannot be deleted either."""
    api.deletable = False

    result = run_tests("def test_forgets(cluster): pass\n")

    (check,) = result.checks
    assert (check.kind, result.outcome) == ("error", Outcome.FAILED)
    assert "all pods are gone, and the index still holds 3 blocks" in check.detail
    assert linked(check, context.run_dir).keys() >= {*OF_ANY, "gateway-0-status.json"}


def test_a_cluster_that_cannot_be_deleted_is_no_verdict(api: ApiServer, run_tests: RunTests) -> None:
    """The test that had it is undecided."""
    api.deletable = False

    result = run_tests("def test_good(own_cluster): pass\n")

    assert (result.checks[0].kind, result.outcome) == ("infra-error", Outcome.UNKNOWN)
    assert "you may not" in result.checks[0].detail


def test_without_a_way_to_the_pods_there_is_no_verdict(
    context: StageContext, run_tests: RunTests, tmp_path: Path
) -> None:
    """A proxy of kubectl that does not start says nothing about the product."""
    (tmp_path / "bin" / "kubectl").write_text("#!/bin/sh\necho no cluster; exit 1\n")

    result = run_tests("def test_good(own_cluster): pass\n")

    assert (result.checks[0].kind, result.outcome) == ("infra-error", Outcome.UNKNOWN)
    assert "kubectl proxy ended: no cluster" in result.checks[0].detail


HANGS = """
import time
from pathlib import Path

def test_fails(own_cluster):
    Path("hangs").touch()
    time.sleep(60)
"""


@pytest.fixture
def in_background() -> Iterator[None]:
    """What we start ignores SIGINT, like all that a shell starts in its background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("code", "in_test"),
    [(HANGS, True), ("def test_no_node(own_cluster): pass", False)],
    ids=["in the test", "while its cluster is made"],
)
@pytest.mark.usefixtures("in_background")
def test_an_interrupted_test_has_evidence(
    api: ApiServer, context: StageContext, run_tests: RunTests, tmp_path: Path, code: str, in_test: bool
) -> None:
    """What ran when its stage was ended, by a person or a time limit, says what its cluster was like."""
    replace(api.machine(tmp_path), ready_timeout_s=60).write(RunFolder(context.run_dir).machine)

    def stop_when_it_hangs() -> None:
        wait_for(
            lambda: (context.repository / "hangs").exists() if in_test else api.namespaces,
            what="the test hangs",
            timeout_s=120,
        )
        context.stop.set()

    stopper = threading.Thread(target=stop_when_it_hangs)
    stopper.start()
    result = run_tests(code)
    stopper.join(timeout=120)

    (check,) = result.checks
    assert (check.kind, check.detail) == ("not-run", "the run was interrupted while this test ran")
    assert linked(check, context.run_dir).keys() >= OF_ANY
    assert api.namespaces == []
