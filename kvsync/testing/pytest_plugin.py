"""The pytest plugin of the kit: options, fixtures, and one JSON line whenever a test starts or finishes.

With `--run-dir` the lines go to `<run dir>/history/<stage>-tests.jsonl`, so that a killed run still has its
finished tests and a display can follow a running one. Without it nothing is written outside pytest's own
temporary directory.
"""

import argparse
import gc
import json
import re
import signal
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import cast

import pytest

from kvsync.testing.errors import InfrastructureError
from kvsync.testing.results.attempts import INVARIANT, attempted
from kvsync.testing.results.history import History, append_line, end_torn_line
from kvsync.testing.results.journal import FROM_OUTSIDE, journal
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.outcome import OUTCOMES, CheckKind, worded
from kvsync.testing.results.shards import file_of, file_times, shared
from kvsync.testing.results.verdicts import EVIDENCE, Unproven, unproven, violated

TAIL_BYTES = 64 * 1024
"""What is kept of a test's output and of its failure text: enough to read, too little to fill a disk."""

MARKERS = (
    "full: runs only with --profile=full",
    "trace: needs a request trace, given with --trace-file",
    "local_only: is about clusters of local processes",
    "kubernetes_only: is about clusters in Kubernetes",
    "invariant: what it asserts must always hold, so that a failure is never tried again",
    "kubernetes: needs an API server that is there for tests (KVSYNC_CI_TEST_KUBECONFIG)",
)

_ALL = pytest.StashKey[list[str]]()
"""The tests of which a shard has a part."""

_FAILED = pytest.StashKey[bool]()
"""Whether a test of the session failed."""

_BAD = pytest.StashKey[bool]()
"""Whether a test did not pass, for any reason other than being skipped."""

INFRASTRUCTURE = re.compile(
    r"ImagePullBackOff|ErrImagePull|failed to pull image|failed to create cluster|no space left on device"
    r"|address already in use|is in use by |Cannot connect to the Docker daemon"
)
"""What a fixture says when the machine, not the product, kept a test from being run."""

RECORDER = "kvsync-recorder"

LINE_NAMES = 1_000
"""How many tests one line names: its readers hold a line at a time, and a box refuses very long ones."""

FIRST_WORKER = "gw0"
"""What pytest-xdist calls the first of its processes."""

TIMEOUT_TEXT = "from pytest-timeout"
"""How pytest-timeout 2.4 ends the message of its failures; it raises no type of its own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the kit's options."""
    group = parser.getgroup("kvsync")
    group.addoption("--profile", choices=["quick", "full"], default="quick", help="how much to test")
    group.addoption("--seed", type=int, default=0, help="seed of everything random in the tests")
    group.addoption("--run-dir", type=Path, default=None, help="directory of the run's evidence")
    group.addoption("--trace-file", type=Path, default=None, help="request trace to replay")
    group.addoption("--machine", type=Path, default=None, help="a run's machine.json: use its cluster")
    group.addoption("--keep", action="store_true", help="end at a failure and leave its cluster alive")
    group.addoption("--only", type=Path, default=None, help="JSON list of the node ids to run")
    group.addoption(
        "--shard", type=_shard, default=None, help="NUMBER/COUNT: run only this part of the tests"
    )
    group.addoption(
        "--durations-file", type=Path, default=None, help="JSON: node ids to seconds, for --shard"
    )
    group.addoption("--attempt", type=int, default=1, help="which attempt at the stage this is")
    group.addoption("--stage", default="tests", help="name of the stage, used in file names")
    parser.addini(
        "kvsync_parallel",
        "stages whose tests are independent of each other: within a run their files share the cores",
        type="args",
        default=[],
    )


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Use several processes for a stage whose project says that its tests are independent, and one seed."""
    _give_seed(config.option)
    if _is_parallel(config):
        from kvsync.testing.workers import processes

        config.option.numprocesses, config.option.dist = processes(), "loadfile"
    return (yield)


def _give_seed(option: argparse.Namespace) -> None:
    """Give the run's seed to Hypothesis, too, where the project has its plugin and no seed of its own."""
    if option.run_dir is not None and getattr(option, "hypothesis_seed", "") is None:
        option.hypothesis_seed = str(option.seed)


def _is_parallel(config: pytest.Config) -> bool:
    """Whether a stage is to use several processes: not for a few tests, nor to stop at the first failure.

    Nor on a cluster that all would share.
    """
    option = config.option
    return (
        option.run_dir is not None
        and _whole(option) in config.getini("kvsync_parallel")
        and config.pluginmanager.hasplugin("xdist")
        and not hasattr(config, "workerinput")
        and option.numprocesses is None
        and not (option.only or option.keep or option.usepdb or option.machine)
    )


def _whole(option: argparse.Namespace) -> str:
    """Return the stage as its project calls it, without the number of the shard."""
    number = (option.shard or "").partition("/")[0]
    return str(option.stage).removesuffix(f"-{number}") if number else str(option.stage)


def _shard(given: str) -> str:
    """Refuse what names no part of the tests."""
    number, _, count = given.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{given!r} is no part of the tests; give NUMBER/COUNT, such as 2/3")
    return given


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and, within a run, the recorder."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getoption("--keep"):
        config.option.maxfail = 1
    run_dir: Path | None = config.getoption("--run-dir")
    if run_dir is None:
        return
    # A shell starts what runs in its background with SIGINT ignored, and so is everything that this starts;
    # but a stage is interrupted with SIGINT, and then has evidence to keep.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    path = journal(run_dir, config.getoption("--stage"))
    if getattr(config.option, "dist", "no") == "no":
        worker = getattr(config, "workerinput", {}).get("workerid", FIRST_WORKER)
        config.pluginmanager.register(Recorder(path, tells_of_all=worker == FIRST_WORKER), RECORDER)
    else:
        config.pluginmanager.register(Crashes(path))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what this profile does not run, and what needs a trace when there is none."""
    if item.get_closest_marker("full") and item.config.getoption("--profile") != "full":
        pytest.skip("runs only with --profile=full")
    if item.get_closest_marker("trace") and item.config.getoption("--trace-file") is None:
        pytest.skip("needs a request trace (--trace-file)")
    local = item.config.getoption("--machine") is None
    if item.get_closest_marker("local_only") and not local:
        pytest.skip("is about local clusters")
    if item.get_closest_marker("kubernetes_only") and local:
        pytest.skip("is about clusters in Kubernetes (--cluster kind)")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage in what collecting makes once, at its end: nearly all of it stays.

    Later pytest looks five times, when it ends. That was a quarter of the CPU of 3,300 unit tests (measured).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return (yield)
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this attempt does not repeat, or another shard has."""
    wanted = set(_only(config))
    if wanted:
        _keep_those(items, wanted, config)
    elif config.getoption("--shard"):
        every = config.stash[_ALL] = [item.nodeid for item in items]
        files = _shard_of(every, config)
        _keep_those(items, {nodeid for nodeid in every if file_of(nodeid) in files}, config)


def _keep_those(items: list[pytest.Item], wanted: Collection[str], config: pytest.Config) -> None:
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
    items[:] = [item for item in items if item.nodeid in wanted]


def _shard_of(tests: Sequence[str], config: pytest.Config) -> frozenset[str]:
    """Return the files of this shard, shared by what the tests took lately."""
    number, count = map(int, config.getoption("--shard").split("/"))
    path: Path | None = config.getoption("--durations-file")
    durations_s = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return shared(file_times(tests, durations_s), count)[number - 1]


def _only(config: pytest.Config) -> list[str]:
    path: Path | None = config.getoption("--only")
    return json.loads(path.read_text(encoding="utf-8")) if path else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give Void, NotRun and Inconclusive their kind; name time limits, and faults of machines."""
    for folder in _noted(call.excinfo.value if call.excinfo else None):
        link_evidence(item, folder)
    report = yield
    if call.excinfo is None:
        return report
    item.config.stash[_FAILED] = item.config.stash.get(_FAILED, False) or report.failed
    item.stash[_BAD] = not isinstance(call.excinfo.value, pytest.skip.Exception)
    if violated(call.excinfo.value) or (report.failed and item.get_closest_marker("invariant")):
        item.user_properties.append((INVARIANT, "broken"))
    verdict = unproven(call.excinfo.value)
    if verdict is not None:
        _show(report, verdict, item)
    elif TIMEOUT_TEXT in str(call.excinfo.value):
        report.kind = "timeout"  # type: ignore[attr-defined]  # as above
    elif _of_infrastructure(call.excinfo.value):
        report.kind = "infra-error"  # type: ignore[attr-defined]  # as above
    return report


def _show(report: pytest.TestReport, verdict: Unproven, item: pytest.Item) -> None:
    """Show a test that says neither: a skip, unless it is a Void and no run judges it."""
    said = f"{worded(verdict.kind)}: {verdict}"
    report.kind = verdict.kind  # type: ignore[attr-defined]  # reports carry extra attributes
    if verdict.kind == "void" and item.config.getoption("--run-dir") is None:
        report.outcome, report.longrepr = "failed", said
    else:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.reportinfo()[1] or 0, said)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say, where no run does, which of the skipped tests are none that may be left out."""
    if terminalreporter.config.getoption("--run-dir") is not None:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    if undecided := [each for each in skipped if hasattr(each, "kind")]:
        terminalreporter.section("undecided: these tests say neither passed nor failed")
        for each in undecided:
            terminalreporter.line(f"{each.nodeid}: {each.longrepr[2]}")


def keeps(config: pytest.Config) -> bool:
    """Say whether a test failed whose cluster should be kept; the session then ends after it."""
    return bool(config.getoption("--keep")) and config.stash.get(_FAILED, False)


def went_wrong(item: pytest.Item) -> bool:
    """Say, while its fixtures are torn down, whether a test did not pass: it may have been interrupted."""
    return item.stash.get(_BAD, False) or interrupted(item)


def interrupted(item: pytest.Item) -> bool:
    """Say, while its fixtures are torn down, whether this is because the session is being ended."""
    return item.session.exitstatus == pytest.ExitCode.INTERRUPTED


def link_evidence(item: pytest.Item, folder: Path) -> None:
    """Name everything in a folder of evidence with the test, in the report of the run."""
    known = [str(value) for name, value in item.user_properties if name == "evidence"]
    item.user_properties.append(("evidence", "\n".join([*known[-1:], *_listed(folder)])))
    recorder: Recorder | None = item.config.pluginmanager.get_plugin(RECORDER)
    if recorder and interrupted(item):
        recorder.note_evidence(item.nodeid, folder)


def _listed(folder: Path) -> list[str]:
    """Return the paths of the files in `<run>/evidence/<folder>`, relative to the run's folder."""
    return [str(path.relative_to(folder.parents[1])) for path in sorted(folder.iterdir())]


def _noted(error: BaseException | None) -> list[Path]:
    notes: list[str] = getattr(error, "__notes__", [])
    return [Path(note.removeprefix(EVIDENCE)) for note in notes if note.startswith(EVIDENCE)]


def _of_infrastructure(error: BaseException) -> bool:
    """Whether only what carries the clusters is to blame."""
    match error:
        case BaseExceptionGroup(exceptions=members):
            return all(map(_of_infrastructure, members))
    return isinstance(error, InfrastructureError)


class Recorder:
    """Writes the JSON lines of one pytest session, or of one process of several.

    `tells_of_all`: also writes what all processes find, because each of them collects every test.
    """

    def __init__(self, path: Path, *, tells_of_all: bool = True) -> None:
        self._path, self._tells_of_all = path, tells_of_all
        self._reports: dict[str, list[pytest.TestReport]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        end_torn_line(path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be collected: its tests will be missing."""
        if report.outcome != "passed" and self._tells_of_all:
            kind: CheckKind = "error" if report.failed else "skipped"
            self._write("finished", nodeid=report.nodeid, **_ending(kind, 0.0, _reason(report), ""))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record what will run; what was asked for and is not there, too, which shows as not run."""
        if not self._tells_of_all:
            return
        only = _only(session.config)
        nodeids = [*dict.fromkeys([*(item.nodeid for item in session.items), *only])]
        if (every := session.config.stash.get(_ALL, None)) is not None:
            self._write_names("sharded", every)
        self._write_names("collected", nodeids, count=len(nodeids), only=bool(only))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Record that a test starts."""
        self._reports[nodeid] = []
        self._write("started", nodeid=nodeid)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Record the evidence that an interruption brings with it: of a fixture there is no report."""
        for nodeid in self._reports:
            for folder in _noted(excinfo.value):
                self.note_evidence(nodeid, folder)

    def note_evidence(self, nodeid: str, folder: Path) -> None:
        """Record the evidence of a test that will not finish."""
        self._write("evidence", nodeid=nodeid, files="\n".join(_listed(folder)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report of one phase (setup, call, teardown) of a test."""
        self._reports[report.nodeid].append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Record how a test ended: by its worst phase, with what it printed."""
        reports = self._reports.pop(nodeid)
        decisive = next(
            (r for outcome in ("failed", "skipped") for r in reports if r.outcome == outcome), reports[-1]
        )
        printed = "\n".join(f"--- {title}\n{text}" for title, text in reports[-1].sections)
        ending = _ending(
            _kind(decisive), sum(report.duration for report in reports), _reason(decisive), printed
        )
        properties = {name: str(value) for name, value in reports[-1].user_properties}
        self._write("finished", nodeid=nodeid, **ending, properties=properties)

    def _write_names(self, event: str, nodeids: Sequence[str], **fields: object) -> None:
        """Write names in lines of which each is small, however many there are."""
        self._write(event, **fields, nodeids=nodeids[:LINE_NAMES])
        for at in range(LINE_NAMES, len(nodeids), LINE_NAMES):
            self._write("more", of=event, nodeids=nodeids[at : at + LINE_NAMES])

    def _write(self, event: str, **fields: object) -> None:
        append_line(self._path, {"event": event, **fields})


class Crashes:
    """Records, where several processes run the tests, those under which their process died."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object:
        """Hand out files so that such a test is not tried again."""
        from kvsync.testing.workers import FileScheduling

        return FileScheduling(config, log) if config.option.dist == "loadfile" else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a test that cannot do so itself; being killed from outside blames no test."""
        if str(report.when) != "???":
            return
        from kvsync.testing.workers import exit_code

        code = exit_code(report)
        if code is not None:
            kind: CheckKind = "inconclusive" if code in FROM_OUTSIDE else "error"
            detail = f"its process ended with exit code {code} while this test ran"
            ending = _ending(kind, 0.0, detail, "")
            append_line(self._path, {"event": "finished", "nodeid": report.nodeid, **ending})


def _ending(kind: CheckKind, duration_s: float, detail: str, printed: str) -> dict[str, object]:
    return {
        "outcome": OUTCOMES[kind].name.lower(),
        "kind": kind,
        "duration_s": round(duration_s, 6),
        "detail": _tail(detail),
        "log_tail": _tail(printed),
    }


def _kind(report: pytest.TestReport) -> CheckKind:
    if hasattr(report, "kind"):
        return cast("CheckKind", report.kind)
    if hasattr(report, "wasxfail"):
        return "xfailed"
    if report.failed and report.when != "call":
        return "infra-error" if INFRASTRUCTURE.search(report.longreprtext) else "error"
    return report.outcome


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        return reason.removeprefix("Skipped: ").removeprefix(f"{worded(getattr(report, 'kind', ''))}: ")
    return str(getattr(report, "wasxfail", "") or report.longreprtext)


def _tail(text: str) -> str:
    kept = text.encode(errors="replace")[-TAIL_BYTES:]
    return kept.decode(errors="replace")


@pytest.fixture(scope="session")
def profile(pytestconfig: pytest.Config) -> str:
    """How much to test: "quick" or "full"."""
    return str(pytestconfig.getoption("--profile"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed from which every random generator of a test starts."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture(scope="session")
def run_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's directory for evidence; a temporary one outside a pipeline."""
    given: Path | None = pytestconfig.getoption("--run-dir")
    return given if given is not None else tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def trace_path(pytestconfig: pytest.Config) -> Path | None:
    """The request trace to replay, None when none was given."""
    given: Path | None = pytestconfig.getoption("--trace-file")
    return given


@pytest.fixture(scope="session")
def stage_history(pytestconfig: pytest.Config, run_dir: Path) -> History:
    """The history of the whole stage."""
    stage = str(pytestconfig.getoption("--stage"))
    return History(run_dir / "history" / f"{stage}.jsonl", proc=stage)


@pytest.fixture
def history(stage_history: History, request: pytest.FixtureRequest) -> History:
    """The stage's history; each record names this test, and which attempt at it this is after the first."""
    attempt = request.config.getoption("--attempt")
    return stage_history.bind(test=attempted(request.node.nodeid, attempt))


@pytest.fixture(scope="session")
def measurements(run_dir: Path) -> Measurements:
    """Where tests put what they measure: `benchmark.json` of the run."""
    return Measurements(run_dir / "benchmark.json")
