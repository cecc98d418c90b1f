"""What the archive says of runs, the same on every database."""

import math
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.flakiness import flakiness
from kvsync.ci.archive.records import PastStage, RunScope
from kvsync.ci.archive.trends import trends_of
from kvsync.ci.report.report import Report
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Attempt, Check, Outcome, merge

MakeReport = Callable[..., Report]

FORK = {"repository": "", "pull_request": 7, "trusted": False}


def statuses(archive: Archive, report: Report) -> dict[str, str]:
    """Return what a run's comparison says of each check, by the last letter of its name."""
    return {each.check[-1]: each.status for each in archive.compare(report).standings}


def test_a_run_comes_back(archive: Archive, make_report: MakeReport) -> None:
    """What was recorded of a run is read again, with the counts of its stages in their order."""
    archive.record(make_report(1, unit="PPF", e2e="PS"))

    (found,) = archive.series()

    assert (found.run, found.commit, found.branch, found.verdict, found.reason) == (
        "run-1",
        "commit-1",
        "main",
        Outcome.FAILED,
        "unit: 1 of 3 failed: test_c: 3 != 4",
    )
    assert found.scope == RunScope(repository="/somewhere/kvsync", profile="quick", cluster="local")
    assert found.started_at == make_report(1).started_at
    assert list(found.stages) == [
        PastStage(name="unit", outcome=Outcome.FAILED, duration_s=11.0, counts={"passed": 2, "failed": 1}),
        PastStage(name="e2e", outcome=Outcome.PASSED, duration_s=11.0, counts={"passed": 1, "skipped": 1}),
    ]


def test_a_run_recorded_again_replaces_itself(archive: Archive, make_report: MakeReport) -> None:
    """A repetition merged into its run is the run; nothing of what it was before stays."""
    archive.record(make_report(1, unit="PPF", e2e="F"))
    archive.record(make_report(1, unit="PPR"))
    archive.record(make_report(1, unit="PPR"))

    (found,) = archive.series()

    assert found.verdict is Outcome.PASSED
    assert [(stage.name, dict(stage.counts)) for stage in found.stages] == [
        ("unit", {"passed": 2, "flaky": 1})
    ]


def test_what_a_run_measured_comes_back(archive: Archive, make_report: MakeReport) -> None:
    """Every number with its conditions, in order; what is no number is left out, as is a run without one."""
    rate = Measurement(
        name="lookup",
        metric="per_s",
        value=2.5,
        unit="1/s",
        samples=5,
        better="higher",
        parameters={"pods": 8},
    )
    pause = Measurement(name="lookup", metric="p99", value=4.0, unit="us", samples=500, goal=9.0)
    archive.record(make_report(1, unit="P"), [rate, replace(rate, value=math.nan), pause])
    archive.record(make_report(2, unit="P"))
    archive.record(make_report(3, unit="P"), [pause])

    assert archive.measurements(["run-1", "run-2", "run-3"]) == {"run-1": [rate, pause], "run-3": [pause]}
    assert trends_of(archive, make_report(3, unit="P")).benchmarks == {
        "lookup per_s, 1/s, pods 8": [(make_report(1).started_at, 2.5)],
        "lookup p99, us": [(make_report(1).started_at, 4.0), (make_report(3).started_at, 4.0)],
    }

    archive.record(make_report(1, unit="P"), [pause])

    assert archive.measurements(["run-1"]) == {"run-1": [pause]}


def test_what_is_new_in_a_run(archive: Archive, make_report: MakeReport) -> None:
    """Failures are new or known with their age, what passes again is fixed, what never ran is a new test."""
    archive.record(make_report(1, unit="PPP"))
    archive.record(make_report(2, unit="PFF"))
    archive.record(make_report(3, unit="PFF"))

    compared = archive.compare(make_report(14, unit="FFPP"))

    assert (compared.last_green, compared.last_green_commit) == ("run-1", "commit-1")
    assert [(each.check[-1], each.status, each.since_run) for each in compared.standings] == [
        ("a", "new", ""),
        ("b", "known", "run-2"),
        ("c", "fixed", "run-2"),
        ("d", "new-test", ""),
    ]
    known = compared.of("known")[0]
    assert compared.at is not None
    assert known.text(compared.at) == "failing since run run-2, commit commit-2, 12 d"
    assert compared.status_text("unit") == "2 failed: 1 new, 1 known (oldest 12 d); 1 fixed; 1 test is new"


@pytest.mark.parametrize(
    "facts",
    [
        {"branch": "topic"},
        {"dirty": True},
        {"profile": "full"},
        {"cluster": "kind"},
        {"source": {"repository": "other/kvsync"}},
        {"source": {"repository": "", "pull_request": 7}},
        {"source": FORK},
        {"source": {"repository": "", "trusted": False}},
    ],
    ids=["branch", "dirty", "profile", "cluster", "repository", "pull request", "fork", "untrusted"],
)
def test_only_the_reference_makes_a_failure_known(
    archive: Archive, make_report: MakeReport, facts: Mapping[str, object]
) -> None:
    """A failure elsewhere says nothing of the reference branch, whatever a fork calls its own branch."""
    archive.record(make_report(1, unit="PP"))
    archive.record(make_report(2, unit="FP", **facts))

    assert statuses(archive, make_report(3, unit="FP")) == {"a": "new"}


def test_a_cluster_of_the_same_kind_is_comparable(archive: Archive, make_report: MakeReport) -> None:
    """Which context of a kubeconfig a run used does not matter."""
    archive.record(make_report(1, cluster="kubeconfig:one", unit="FP"))

    assert statuses(archive, make_report(2, cluster="kubeconfig:two", unit="FP")) == {"a": "known"}


def test_later_runs_do_not_count(archive: Archive, make_report: MakeReport) -> None:
    """A run that is judged late is compared with what came before it, and not with itself."""
    archive.record(make_report(1, unit="P"))
    archive.record(make_report(2, unit="F"))
    archive.record(make_report(3, unit="F"))

    assert statuses(archive, make_report(2, unit="F")) == {"a": "new"}


def test_both_sides_at_one_commit(archive: Archive, make_report: MakeReport) -> None:
    """A failure at a commit at which the test passed before is flaky, also on another branch."""
    archive.record(make_report(1, unit="PP", branch="topic", commit="same"))

    assert statuses(archive, make_report(2, unit="FP", commit="same")) == {"a": "flaky", "b": "new-test"}
    assert statuses(archive, make_report(2, unit="FP", commit="same", dirty=True)) == {
        "a": "new",
        "b": "new-test",
    }


def test_what_other_code_mended_is_of_no_commit(archive: Archive, make_report: MakeReport) -> None:
    """A repetition with other code makes its run no reference, and no test flaky."""
    archive.record(make_report(1, unit="PF"))
    failed = make_report(2, unit="PF", commit="same")
    archive.record(failed)
    mended = replace(
        failed.stages[0].checks[1],
        kind="passed",
        properties={"code": "same with uncommitted changes"},
        attempts=[Attempt(kind="failed")],
    )
    stages = [merge("unit", [failed.stages[0].checks[0], mended], started_at=failed.started_at)]
    again = replace(failed, stages=stages)

    compared = archive.compare(again)
    archive.record(again)

    assert [(each.check[-1], each.status) for each in compared.standings] == [("b", "fixed")]
    assert [(run.run, run.verdict, run.dirty) for run in archive.series(limit=1)] == [
        ("run-2", Outcome.PASSED, True)
    ]
    assert [run.run for run in archive.series(reference=True)] == ["run-1"]
    assert archive.compare(make_report(3, unit="PF")).last_green is None
    (scope,) = archive.scopes()
    assert [flakiness(endings).verdict for endings in archive.endings(scope).values()] == ["steady"]


def test_a_stage_that_only_another_profile_runs(archive: Archive, make_report: MakeReport) -> None:
    """The reference's runs of it there say what is known, those of other clusters and branches do not."""
    archive.record(make_report(1, profile="full", e2e="PPF", unit="F"))
    archive.record(make_report(2, profile="full", e2e="PFF"))
    archive.record(make_report(3, profile="full", e2e="FFF", cluster="kind"))
    archive.record(make_report(4, profile="full", e2e="FFF", branch="topic"))
    archive.record(make_report(5, profile="full", e2e="FFF", source={"repository": "other/kvsync"}))
    archive.record(make_report(6, profile="full", e2e="PFF", commit="same"))
    archive.record(make_report(7, unit="P"))
    source = {"repository": "", "pull_request": 7}

    compared = archive.compare(
        make_report(8, unit="F", e2e="FFPP", branch="topic", source=source, commit="same")
    )

    assert [(each.stage, each.check[-1], each.status, each.since_run) for each in compared.standings] == [
        ("unit", "a", "new", ""),
        ("e2e", "a", "new", ""),
        ("e2e", "b", "known", "run-2"),
        ("e2e", "c", "fixed", "run-1"),
        ("e2e", "d", "new-test", ""),
    ]
    (quick,) = [
        scope
        for scope in archive.scopes()
        if (scope.profile, scope.repository) == ("quick", "/somewhere/kvsync")
    ]
    assert archive.endings(quick) == {}


def test_a_stage_that_never_came_to_an_end_in_a_profile(archive: Archive, make_report: MakeReport) -> None:
    """While it was only skipped there the other profile stands in, and no longer."""
    archive.record(make_report(1, profile="full", e2e="F"))
    archive.record(make_report(2, e2e="S"))

    assert statuses(archive, make_report(3, e2e="F")) == {"a": "known"}

    archive.record(make_report(3, e2e="P"))

    assert statuses(archive, make_report(4, e2e="F")) == {"a": "new"}


def test_what_the_reference_ran_anywhere_is_no_new_test(archive: Archive, make_report: MakeReport) -> None:
    """Whatever the profile and the kind of cluster; a branch or another repository does not count."""
    archive.record(make_report(1, e2e="P", profile="full", cluster="kind"))
    archive.record(make_report(2, e2e="PP", branch="topic"))
    archive.record(make_report(3, e2e="PPP", source={"repository": "other/kvsync"}))

    assert statuses(archive, make_report(4, e2e="PPP")) == {"b": "new-test", "c": "new-test"}


def test_endings_of_what_failed(archive: Archive, make_report: MakeReport) -> None:
    """Flaky tests are found among those that failed or were tried again; others are not even read."""
    for day, letters in enumerate(["PPP", "FPP", "PPR", "FPP"]):
        archive.record(make_report(day, unit=letters))
    (scope,) = archive.scopes()

    found = {name[-1]: flakiness(endings) for (_, name), endings in archive.endings(scope).items()}

    assert {name: each.verdict for name, each in found.items()} == {"a": "flaky", "c": "flaky"}
    assert (found["a"].flips, found["c"].proofs) == (3, ("commit-2",))


def test_what_failed_elsewhere_is_not_asked_about_here(archive: Archive, make_report: MakeReport) -> None:
    """A test that is flaky in another repository has no endings to be judged by in one where it passed."""
    archive.record(make_report(1, unit="P"))
    archive.record(make_report(2, unit="R", source={"repository": "other/kvsync"}))

    here = archive.scope(make_report(1).parameters)
    there = archive.scope(make_report(2, source={"repository": "other/kvsync"}).parameters)
    assert archive.endings(here) == {}
    assert [ending.kind for (ending,) in archive.endings(there).values()] == ["flaky"]


def test_endings_by_name(archive: Archive, make_report: MakeReport) -> None:
    """A part of a name finds tests in every scope; signs that a database reads as patterns mean nothing."""
    archive.record(make_report(1, unit="P", e2e="F"))
    archive.record(make_report(2, unit="P", cluster="kind"))

    found = archive.endings_of("::test_a")

    assert [(scope.cluster, sorted(stage for stage, _ in tests)) for scope, tests in found.items()] == [
        ("kind", ["unit"]),
        ("local", ["e2e", "unit"]),
    ]
    assert archive.endings_of("%") == {}


def test_eta(archive: Archive, make_report: MakeReport) -> None:
    """A stage will take as long as the middle one of those that passed; of an unknown one nothing is said."""
    for day in (1, 2, 9):
        archive.record(make_report(day, unit="P", cluster="kind"))
    archive.record(make_report(30, unit="F", cluster="kind"))
    archive.record(make_report(40, unit="P", cluster="kind", profile="full"))

    scope = RunScope(repository="/somewhere/kvsync", profile="quick", cluster="kind")
    assert archive.eta(["unit", "e2e"], scope) == {"unit": 12.0}
    assert archive.eta(["unit"], replace(scope, repository="/elsewhere")) == {}


def test_eta_of_what_is_compared_with_its_base(archive: Archive, make_report: MakeReport) -> None:
    """Comparing takes longest: runs that were only measured do not count, nor how it ended."""
    for day in (1, 2, 3):
        archive.record(make_report(day, speed="P"))
    for day, ending in ((30, "P"), (40, "F"), (50, "F")):
        archive.record(make_report(day, names=["cpu: not slower"], speed=ending))

    scope = archive.scope({"repository": "/somewhere/kvsync"})
    assert archive.eta(["speed"], scope, compared=["speed"]) == {"speed": 50.0}
    assert archive.eta(["speed"], scope) == {"speed": 12.5}


def test_series(archive: Archive, make_report: MakeReport) -> None:
    """Runs are listed from the newest on, by scope, branch and stage, and not more than asked for."""
    archive.record(make_report(1, unit="P"))
    archive.record(make_report(2, e2e="P", branch="topic"))
    archive.record(make_report(3, unit="P", profile="full"))
    scope = RunScope(repository="/somewhere/kvsync", profile="quick", cluster="local")

    assert [run.run for run in archive.series()] == ["run-3", "run-2", "run-1"]
    assert [run.run for run in archive.series(limit=1)] == ["run-3"]
    assert [run.run for run in archive.series(scope=scope)] == ["run-2", "run-1"]
    assert [run.run for run in archive.series(scope=scope, reference=True)] == ["run-1"]
    assert [run.run for run in archive.series(stage="e2e")] == ["run-2"]


def test_only_what_the_reference_did_not_run_is_new(archive: Archive, make_report: MakeReport) -> None:
    """Whatever the order of the tests, and whichever are gone."""
    archive.record(make_report(1, unit="PPPP", names="abcd"))
    archive.record(make_report(2, unit="PPPP", names="dbax"))

    assert statuses(archive, make_report(3, unit="PPPPP", names="nabcd")) == {"n": "new-test"}


def test_to_compare_nothing_is_held_of_tests_that_are_known(
    archive: Archive, make_report: MakeReport
) -> None:
    """A run may have 100,000; in bytes at the peak, of one more."""
    few, many, peaks = 500, 5_000, {}
    for count in (few, many):
        names = [f"number[{each}]" for each in range(count)]
        for stage in ("made-once", f"unit-of-{count}"):
            archive.record(make_report(1, names=names, **{stage: "P" * count}))
            later = make_report(2, names=["new", *names], **{stage: "P" * (count + 1)})
            tracemalloc.start()
            try:
                archive.compare(later)
                _, peaks[count] = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()

    assert peaks[many] - peaks[few] < 60 * (many - few)


def test_any_text_can_be_kept(archive: Archive, make_report: MakeReport) -> None:
    """Names and messages of tests are anything: quotes, NUL, lone surrogates."""
    name = "t.py::test_['; drop table runs; --\x00\ud800]"
    check = Check(name=name, kind="failed", detail="E   \x00\udfff", attempts=[Attempt(kind="passed")])
    report = replace(
        make_report(1), stages=[merge("unit\x00", [check, check], started_at=make_report(1).started_at)]
    )

    archive.record(report)

    assert archive.series()[0].stages[0].counts == {"failed": 2}
    assert (
        len(archive.compare(replace(report, run="b", started_at=report.started_at + timedelta(1))).standings)
        == 2
    )


def test_a_pull_request_is_held_against_its_push_before(archive: Archive, make_report: MakeReport) -> None:
    """The last run of another commit that came to a result, in stages that both have; only of its own."""
    pull = {"repository": "me/gw", "pull_request": 7}
    runs = [
        make_report(1, unit="FFPP", e2e="F", source=pull),
        make_report(2, unit="PPPP", source=pull | {"pull_request": 8}),
        make_report(3, unit="PPPP", source={"repository": "me/gw"}),
        make_report(4, unit="PPPP", dirty=True, source=pull),
        make_report(5, unit="PPPP", profile="full", source=pull),
        make_report(6, unit="", source=pull),
        make_report(7, unit="PPPP", commit="again", source=pull),
    ]
    for each in runs:
        archive.record(each)

    pushed = archive.compare(make_report(8, unit="FPFP", chaos="P", commit="again", source=pull)).since_push

    assert pushed is not None
    assert (pushed.before.run, pushed.before.commit) == ("run-1", "commit-1")
    assert [(each.check[-1], each.change, each.headline) for each in pushed.checks] == [
        ("c", "newly failing", "3 != 4"),
        ("a", "still failing", "3 != 4"),
        ("b", "fixed", ""),
    ]
    assert pushed.summary == "1 newly failing, 1 still failing, 1 fixed"
    assert not pushed.remarks
    assert archive.compare(make_report(1, unit="F", source=pull)).since_push is None
    assert archive.compare(make_report(9, unit="F")).since_push is None


def test_durations_of_tests(archive: Archive, make_report: MakeReport) -> None:
    """Of passes in the reference's runs before a moment, whichever shard they were in; else in all."""
    scope = RunScope(repository="/somewhere/kvsync", profile="quick", cluster="local")

    def found(*stages: str, day: int = 9, **fields: str) -> str:
        there = replace(scope, **fields)
        names = archive.durations_s(there, stages, make_report(day).started_at)
        return " ".join(sorted(name.removeprefix("tests/") for name in names))

    archive.record(make_report(1, unit="PF", branch="other"))
    assert found("unit") == "unit/t.py::test_a"
    archive.record(make_report(2, **{"unit-1": "PF"}))
    archive.record(make_report(3, **{"unit-2": "FP"}))
    assert found("unit-1", "unit-2", "unit") == "unit-1/t.py::test_a unit-2/t.py::test_b"
    assert found("unit-1", "unit-2", "unit", day=3) == "unit-1/t.py::test_a"
    assert found("unit", profile="full") == ""


def test_what_ran_at_a_commit(archive: Archive, make_report: MakeReport) -> None:
    """The last run of the stage there counts, and only if nothing was uncommitted."""
    scope = RunScope(repository="/somewhere/kvsync", profile="quick", cluster="local")
    archive.record(make_report(1, unit="PPP", commit="c"))
    archive.record(make_report(2, unit="PF", commit="c"))
    archive.record(make_report(3, e2e="P", commit="c"))
    archive.record(make_report(4, unit="P", commit="c", dirty=True))

    assert {name[-1] for name in archive.ran_at(scope, "c", "unit")} == {"a", "b"}
    assert archive.ran_at(scope, "d", "unit") == frozenset()
