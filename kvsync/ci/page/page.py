"""The report as a single, self-contained page: no font, no other file, and no script but its own."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jinja2 import Template
from markupsafe import Markup

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.page.drawings import latency_curves, stage_timeline, trend_charts
from kvsync.ci.page.evidence import KINDS, Evidence
from kvsync.ci.page.loads import MOST_ROWS, loads_of
from kvsync.ci.page.room import MOST_PROBLEMS, shown_problems, shown_tests
from kvsync.ci.page.templates import Filters, templates
from kvsync.ci.page.timeline import Timeline, local_pods
from kvsync.ci.page.wording import age, duration, moment, number, quantity
from kvsync.ci.report.difference import Change
from kvsync.ci.report.problems import doubts, problems
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.load.http.summary import LoadSummary
from kvsync.testing.results.history import read, read_lines
from kvsync.testing.results.measurement import Measurement, read_measurements
from kvsync.testing.results.outcome import NEUTRAL, OUTCOMES, Outcome, worded
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.whole import write_whole

if TYPE_CHECKING:
    from kvsync.ci.archive.trends import Trends

EMPTY: Mapping[str, str] = MappingProxyType({})

SYMBOLS = {Outcome.PASSED: "✓", Outcome.UNKNOWN: "?", Outcome.FAILED: "✗"}


MOST_STANDINGS = 200
"""Most tests shown of those that changed in one way."""

MOST_MARKS = 500
"""Most lines of the time line in words; its chart shows everything."""

CHANGES = {
    "new": ("newly failed", "failed"),
    "known": ("failed before", "failed"),
    "flaky": ("flaky", "unknown"),
    "quarantined": ("quarantined", "neutral"),
    "inconclusive": ("not decided", "unknown"),
    "fixed": ("fixed", "passed"),
    "new-test": ("never seen before", "passed"),
}
"""What each standing is called on the page, and its tone, in the order of the page."""

PUSH_TONES: Mapping[Change, str] = {
    "newly failing": "failed",
    "still failing": "failed",
    "undecided": "unknown",
    "fixed": "passed",
    "slower": "unknown",
    "gone": "neutral",
    "new": "passed",
}
"""The tone of each difference from the push before, in the order of the page."""


def write_page(
    report: Report,
    run_dir: Path,
    name: str = "report.html",
    *,
    comparison: RunComparison | None = None,
    trends: "Trends | None" = None,
) -> Path:
    """Write the page of a run from its files and the archive; returns the page's path."""
    path = run_dir / name
    page = render(
        report,
        evidence_of(run_dir),
        read_measurements(run_dir / "benchmark.json"),
        loads=loads_of(run_dir),
        comparison=comparison,
        trends=trends,
        coverage=coverage_pages(run_dir),
    )
    # A lone surrogate, which JSON can carry, has no UTF-8 form.
    write_whole(path, page.encode(errors="replace"))
    return path


def coverage_pages(run_dir: Path) -> dict[str, str]:
    """Return where the pages lie that say what ran, beside the report, by what they are called."""
    folder = RunFolder(run_dir)
    found = {"Coverage": RunFolder(run_dir).coverage_page("")}
    found |= {
        f"Coverage of {each.stem}": each for each in sorted(folder.coverage_page("x").parent.glob("*.html"))
    }
    return {name: path.relative_to(run_dir).as_posix() for name, path in found.items() if path.is_file()}


def evidence_of(run_dir: Path) -> Evidence:
    """Return what a run's histories say, and what its ledger says about the pods of local clusters."""
    evidence = Evidence.from_records(read(sorted((run_dir / "history").glob("*.jsonl")), only=KINDS))
    if evidence.clock_s is None:
        return evidence
    folder = RunFolder(run_dir)
    local = local_pods(chain(read_lines(folder.ledger), read_lines(folder.programs)), evidence.clock_s)
    return replace(evidence, pods=sorted([*evidence.pods, *local], key=lambda event: event.at))


def render(
    report: Report,
    evidence: Evidence,
    measurements: Sequence[Measurement],
    *,
    loads: Sequence[tuple[str, LoadSummary]] = (),
    comparison: RunComparison | None = None,
    trends: "Trends | None" = None,
    coverage: Mapping[str, str] = EMPTY,
) -> str:
    """Return the page; all text in it is escaped. `coverage`: pages by what they are called."""
    timeline, found = Timeline.of(report, evidence), problems(report)
    script = resources.files(__package__).joinpath("tests.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template().render(
        report=report,
        problems=shown_problems(found),
        doubts=doubts(report),
        more_problems=max(0, len(found) - MOST_PROBLEMS),
        tests=shown_tests(report.stages),
        script=Markup(script),  # noqa: S704 - our own
        digest=digest,
        most_standings=MOST_STANDINGS,
        comparison=comparison,
        changes=CHANGES,
        push_tones=PUSH_TONES,
        evidence=evidence,
        measurements=measurements,
        loads=[(folder, load, latency_curves(load.curves)) for folder, load in loads],
        most_rows=MOST_ROWS,
        stage_chart=stage_timeline(report.stages),
        timeline=timeline,
        timeline_chart=_timeline(timeline) if timeline else "",
        marks=timeline.marks[:MOST_MARKS] if timeline else [],
        headroom=_headroom(measurements) if measurements else "",
        latencies={test: _latency(test, evidence) for test in evidence.requests},
        trends=trends,
        coverage=coverage,
        trend_charts=_trend_charts(trends) if trends else [],
        symbols=SYMBOLS,
        outcome_of=OUTCOMES,
        neutral=NEUTRAL,
    )


@cache
def template() -> Template:
    """Return the template of the page."""
    filters: Filters = {
        "age": age,
        "duration": duration,
        "moment": moment,
        "number": number,
        "quantity": quantity,
        "cut": shortened,
        "short": short_name,
        "worded": worded,
    }
    return templates(Path(__file__).parent, filters).get_template("report.html")


# Matplotlib takes 1 s of CPU time to import, and most reports have nothing for it to draw.
def _timeline(timeline: Timeline) -> Markup:
    from kvsync.ci.page.charts import run_timeline

    return run_timeline(timeline)


def _headroom(measurements: Sequence[Measurement]) -> Markup:
    from kvsync.ci.page.charts import headroom_chart

    return headroom_chart(measurements)


def _latency(test: str, evidence: Evidence) -> Markup:
    from kvsync.ci.page.charts import latency_chart

    return latency_chart(
        test,
        evidence.requests[test],
        evidence.faults_of(test),
        violations=[each.at for each in evidence.comparisons if each.test == test and each.violations],
        pods=[each.at for each in evidence.pods],
    )


def _trend_charts(trends: "Trends") -> list[Markup]:
    return trend_charts(
        [(run.started_at, rate, run.verdict) for run, rate in trends.pass_rates],
        trends.durations_s,
        trends.benchmarks,
    )


def short_name(name: str) -> str:
    """Return a test's name without its file, cut in its middle if it is long."""
    return shortened(name.partition("::")[2] or name, 160)
