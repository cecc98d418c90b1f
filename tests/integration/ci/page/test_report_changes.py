"""What the report page says beside one run: what changed, when what happened, and how runs went lately."""

from dataclasses import replace
from datetime import timedelta

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.archive.trends import Trends
from kvsync.ci.page.evidence import Evidence, FaultWindow, IndexComparison, RequestPoint
from kvsync.ci.page.page import render
from kvsync.ci.page.timeline import Timeline, local_pods
from kvsync.ci.report.difference import difference
from kvsync.testing.results.outcome import Attempt, Check
from tests.integration.ci.page.test_report_html import NOON, Page, changed, report, stage, trends

CLOCK_S = NOON.timestamp() - 100.0
"""The run of these tests began when the monotonic clock said 100 s."""

FAULT = FaultWindow(
    test="t.py::test_cut",
    kind="partition",
    pods=("qwen-0",),
    details="",
    start=110.0,
    stop=120.0,
    recovery_s=2.5,
    recovered=True,
)

VIOLATION = {"f": "oracle", "type": "fail", "violations": ["lost 00ff"], "t_mono": 125.0, "test": "t"}


def test_what_changed_is_told_with_age_and_first_failing_commit() -> None:
    """Each status has its checks; what failed before says since which run and commit, and for how long."""
    text = Page(render(report(), Evidence(), [], comparison=changed("c0ffee"))).text

    for expected in (
        "What changed since the last green run 2 failed: 1 new, 1 known (oldest 12 d); 1 flaky but passed;",
        "since run c0ffee , commit c0ffee .",
        "1 newly failed test stage since run first failing commit age c0ffee new t.py c0ffee",
        "this one 0123456789ab",
        "c0ffee known t.py c0ffee c0ffee c0ffee 12 d",
        "1 fixed",
        "1 quarantined",
    ):
        assert expected in text


def test_a_pull_request_is_told_what_its_push_changed() -> None:
    """Beside the reference branch, the page has what differs from the push before."""
    ones = [Check(name="t.py::test_a", kind="passed"), Check(name="t.py::test_b", kind="failed")]
    others = [
        Check(name="t.py::test_a", kind="failed", detail="E   <b>"),
        Check(name="t.py::test_b", kind="passed"),
    ]
    before = replace(report(stage("unit", *ones)), run="run-1", commit="c0ffee")
    pushed = difference(before, report(stage("unit", *others)))

    text = Page(render(report(), Evidence(), [], comparison=RunComparison(at=NOON, since_push=pushed))).text

    assert "Since the push before 1 newly failing, 1 fixed since run run-1 , commit c0ffee (FAILED)." in text
    assert "1 newly failing test stage before now why test_a t.py unit passed, 0 s failed, 0 s <b>" in text
    assert (
        "Since the push" not in Page(render(report(), Evidence(), [], comparison=RunComparison(at=NOON))).text
    )


def test_what_could_not_be_compared_says_why() -> None:
    """Without an archive the section says so, and without any green run, too."""
    lost = Page(render(report(), Evidence(), [], comparison=RunComparison.impossible("it is away"))).text
    first = Page(render(report(), Evidence(), [], comparison=RunComparison(at=NOON))).text

    assert "Not compared: it is away." in lost
    assert "Nothing to compare with yet." in first
    assert "What changed" not in Page(render(report(), Evidence(), [])).text


def test_one_cause_of_many_failures_and_attempts_are_visible() -> None:
    """Failures that look alike are one problem, and a flaky test shows how each attempt ended."""
    alike = [Check(name=f"t.py::test_{n}", kind="failed", detail=f"E  port {n} is taken") for n in range(12)]
    retried = Check(name="t.py::test_x", kind="flaky", attempts=(Attempt(kind="failed", detail="E  once"),))

    text = Page(render(report(stage("e2e", *alike, retried)), Evidence(), [])).text

    assert "failed port 0 is taken (12 tests, 1 cause)" in text
    assert "flaky failed, flaky t.py::test_x Attempt 1 ended as failed after 0 s: E once" in text


def test_everything_is_on_one_axis() -> None:
    """Moments of histories, of the ledger and of stages become seconds since the run began."""
    evidence = Evidence.from_records([VIOLATION])
    ledger = [
        {"event": "intend", "id": "a", "wall": 1.0, "kind": "process", "name": "cut/qwen-0"},
        {"event": "created", "id": "a", "wall": CLOCK_S + 105.0},
        {"event": "intend", "id": "b", "wall": 1.0, "kind": "process", "name": "docker run a/b"},
        {"event": "created", "id": "b", "wall": CLOCK_S + 106.0},
        {"event": "released", "id": "a", "wall": CLOCK_S + 130.0},
    ]
    found = Timeline.of(
        report(stage("chaos", Check(name="a", kind="passed"))),
        Evidence(
            faults=[FAULT],
            requests={"t": [RequestPoint(at=104.0, latency_s=0.1, ok=True)]},
            comparisons=evidence.comparisons,
            pods=local_pods(ledger, CLOCK_S),
            clock_s=CLOCK_S,
        ),
    )

    assert found is not None
    assert [(mark.at, mark.kind, mark.text) for mark in found.marks] == [
        (0.0, "stage", "chaos ran, passed"),
        (5.0, "pod", "qwen-0 started"),
        (10.0, "fault", "partition of qwen-0 began"),
        (20.0, "fault", "partition of qwen-0 ended"),
        (22.5, "recovery", "recovered from partition of qwen-0"),
        (25.0, "violation", "lost 00ff"),
        (30.0, "pod", "qwen-0 ended"),
    ]


def test_the_time_line_has_rows_of_what_a_project_has() -> None:
    """One that holds no cache against the truth and has no pods gets no rows of them."""
    request = RequestPoint(at=5.0, latency_s=0.1, ok=True)
    bare = Evidence(clock_s=NOON.timestamp(), requests={"load": [request]})
    comparison = IndexComparison(test="t", ok=True, pods=1, blocks=1, violations=())

    rows = [
        found.rows
        for each in (bare, replace(bare, comparisons=[comparison]))
        if (found := Timeline.of(report(stage("load")), each))
    ]

    assert rows == [["stages"], ["stages", "violations"]]


def test_the_clock_of_a_history_is_that_of_most_records() -> None:
    """One record that was written down later than it happened does not move the others."""
    records = [{"f": "request", "t_mono": at, "wall": at + 1000.0} for at in (1.0, 2.0, 3.0)]
    late = {"f": "fault", "type": "start", "t_mono": 1.5, "wall": 1009.0}

    assert Evidence.from_records([*records, late]).clock_s == 1000.0


def test_trends_tell_rates_times_and_the_next_run() -> None:
    """Pass rates leave out what was not decided; a stage has its durations, and the next run its time."""
    found = trends("unit")
    source = render(report(), Evidence(), [], trends=found)
    text = Page(source).text

    assert [rate for _, rate in found.pass_rates] == [1.0, 0.75, 1.0]
    assert found.durations_s == {"unit": [(NOON + timedelta(days=n), 60.0 + n) for n in range(3)]}
    assert "The next run of these stages takes about 3 min 12 s : unit 1 min 2 s, e2e 2 min 10 s." in text
    assert "The last 3 runs of this profile" in text
    assert "passed, of the decided checks" in text
    assert "unit: 1 min 2 s" in text


def test_a_first_run_has_no_trend_to_draw() -> None:
    """One run alone has no chart, and having nothing at all is not a reason to fail."""
    assert Page(render(report(), Evidence(), [], trends=Trends())).tags.count("svg") == 0
