"""A report for other people's tools: every check as CSV, what did not pass as a page of Markdown. Pure."""

from collections.abc import Iterator, Mapping

from kvsync.ci.report.owners import owners_of
from kvsync.ci.report.plain import Cell, code_span, csv_lines, markdown_table
from kvsync.ci.report.problems import is_bad
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, CheckKind, worded

CSV_HEADER = (
    *("run", "commit", "branch", "stage", "check", "kind", "outcome"),
    *("duration_s", "attempts", "owners", "headline"),
)

MARKDOWN_HEADER = ("stage", "check", "kind", "owners", "headline")


def report_csv(report: Report) -> Iterator[str]:
    """Yield the lines of a table with a row for each check of a run."""
    rows = (
        (report.run, report.commit, report.branch, stage.name, *_row(check))
        for stage in report.stages
        for check in stage.checks
    )
    return csv_lines(CSV_HEADER, rows)


def report_markdown(report: Report) -> str:
    """Return the verdict, the stages and what did not pass, as GitHub's Markdown."""
    return "\n".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    code = f"{report.commit or 'not known'}{' with uncommitted changes' if report.differs else ''}"
    yield f"### {report.verdict.name}: {code_span(report.reason)}\n"
    branch = f", branch {code_span(report.branch)}" if report.branch else ""
    yield f"Run {code_span(report.run)}, commit {code_span(code)}{branch}\n"
    yield markdown_table(
        ("stage", "outcome", "checks", "seconds"),
        [
            (stage.name, stage.outcome.name.lower(), _counts(stage.counts), stage.duration_s)
            for stage in report.stages
        ],
    )
    bad = [
        (stage.name, check.name, worded(check.kind), owners_of(check), check.headline)
        for stage in report.stages
        for check in stage.where(is_bad)
    ]
    if bad:
        yield markdown_table(MARKDOWN_HEADER, bad)
    yield f"Repeat: {code_span(report.command, len(report.command))}\n"


def _row(check: Check) -> tuple[Cell, ...]:
    attempts = 1 + len(check.attempts)
    outcome = check.outcome.name.lower()
    times = check.duration_s, attempts
    return check.name, check.kind, outcome, *times, owners_of(check), check.headline


def _counts(counts: Mapping[CheckKind, int]) -> str:
    return ", ".join(f"{count} {worded(kind)}" for kind, count in counts.items())
