"""What Prefect's UI shows of a run. The record is the run's folder; this is a view of it."""

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from kvsync.testing.outcome import Check, Outcome
from kvsync.testing.report import Report
from kvsync.testing.store import DirectoryStore
from tasks.parameters import Parameters

SHOWN_FAILURES = 20
"""A page of megabytes took Chromium 25 s to show (measured); the report has all of them."""

TAIL_CHARACTERS = 2000


@task(name="artifacts", task_run_name="artifacts", cache_policy=NO_CACHE)
def show_report(report: Report, parameters: Parameters, stored: str) -> None:
    """Show the verdict, the stages and what did not pass beside the run, and link its report.

    `stored` is the link to the report in the store, "" for the one on this machine.
    """
    store = DirectoryStore(parameters.report_dir)
    create_markdown_artifact(key="verdict", markdown=verdict_page(report), description=report.verdict_line())
    create_table_artifact(key="stages", table=stage_rows(report), description="Stages")
    create_link_artifact(
        key="report", link=stored or store.url(f"{report.run}/report.html"), link_text=report.run
    )


def verdict_page(report: Report) -> str:
    """Return the verdict and the first failures as Markdown; text from tests stands in code blocks."""
    bad = [check for stage in report.stages for check in stage.checks if _is_news(check)]
    parts = [f"# {report.verdict.name}", _code(report.reason)]
    for check in bad[:SHOWN_FAILURES]:
        parts += [f"## {check.kind}", _code(check.name), _code(check.detail[-TAIL_CHARACTERS:])]
    if len(bad) > SHOWN_FAILURES:
        parts.append(f"and {len(bad) - SHOWN_FAILURES} more, in the report")
    return "\n\n".join([*parts, "Repeat it with:", _code(report.command)])


def stage_rows(report: Report) -> list[dict[str, str]]:
    """Return one row per stage."""
    return [
        {
            "stage": stage.name,
            "outcome": stage.outcome.name.lower(),
            "tests": ", ".join(f"{count} {kind}" for kind, count in stage.counts.items()),
            "seconds": f"{stage.duration_s:.1f}",
            "reason": stage.reason,
        }
        for stage in report.stages
    ]


def _is_news(check: Check) -> bool:
    return check.outcome is not Outcome.PASSED and check.kind != "skipped"


def _code(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
