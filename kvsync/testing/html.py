"""The report as one page that needs nothing else: no script, no font, no file beside it."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kvsync.testing import charts
from kvsync.testing.evidence import KINDS, Evidence
from kvsync.testing.history import read
from kvsync.testing.measurement import Measurement, read_measurements
from kvsync.testing.outcome import OUTCOMES, Outcome
from kvsync.testing.problems import problems
from kvsync.testing.report import Report

PASSED_TAIL = 2000
"""Characters shown of what a passed test printed: its whole tail is in report.json."""

SYMBOLS = {Outcome.PASSED: "✓", Outcome.UNKNOWN: "?", Outcome.FAILED: "✗"}


def write_page(report: Report, run_dir: Path, name: str = "report.html") -> Path:
    """Write the page of a run, with what its histories and measurements say; returns its path."""
    path = run_dir / name
    histories = sorted((run_dir / "history").glob("*.jsonl"))
    page = render(
        report,
        Evidence.from_records(read(histories, only=KINDS)),
        read_measurements(run_dir / "benchmark.json"),
    )
    partial = path.with_suffix(".partial")
    # A lone surrogate, which JSON can carry, has no UTF-8 form.
    partial.write_text(page, encoding="utf-8", errors="replace")
    partial.replace(path)
    return path


def render(report: Report, evidence: Evidence, measurements: Sequence[Measurement]) -> str:
    """Return the page; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("kvsync.testing", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": charts.duration, "number": charts.number, "short": short_name}
    return environment.get_template("report.html").render(
        report=report,
        problems=problems(report),
        evidence=evidence,
        measurements=measurements,
        timeline=charts.stage_timeline(report.stages),
        headroom=charts.headroom_chart(measurements),
        latencies={
            test: charts.latency_chart(test, points, evidence.faults_of(test))
            for test, points in evidence.requests.items()
        },
        symbols=SYMBOLS,
        outcome_of=OUTCOMES,
        passed_tail=PASSED_TAIL,
    )


def short_name(name: str) -> str:
    """Return a test's name without its file."""
    return name.partition("::")[2] or name
