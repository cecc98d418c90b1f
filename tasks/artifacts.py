"""What Prefect's UI shows of a run. The record is the run's folder; this is a view of it.

Text that tests, branches or clusters had a hand in is hostile: on Markdown pages it stands in code blocks, in
tables, which one of the two UIs renders as Markdown, it loses what makes links, images and HTML.
"""

import re
from collections.abc import Iterator, Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.handover.handover import Handover
from kvsync.ci.page.evidence import Evidence, FaultWindow
from kvsync.ci.page.page import evidence_of
from kvsync.ci.page.wording import age, duration, number
from kvsync.ci.report.problems import Problem, doubts, problems
from kvsync.ci.report.report import Report
from kvsync.testing.results.measurement import Measurement, read_measurements
from kvsync.testing.results.outcome import StageResult

SHOWN_PROBLEMS, SHOWN_TESTS, SHOWN_ROWS = 20, 5, 200
"""A page of megabytes took Chromium 25 s to show (measured); the report has all of them."""

TAIL_CHARACTERS = 2000
CELL_CHARACTERS = 300

Row = dict[str, str]


def show_report(handover: Handover) -> None:
    """Show, next to the run, what it found: verdict, stages, failures, measurements, faults, links.

    The link is for everyone if there is such a one; else it leads to the report that this machine serves.
    """
    report, comparison, folder = handover.report, handover.comparison, handover.run.folder
    stored = handover.uploaded.address if handover.uploaded else ""
    pages = {
        "verdict": verdict_page(report, comparison),
        "failures": failures_page(problems(report), doubts(report)),
        "report": links_page(report, handover.link or handover.link_here, stored or str(folder.path)),
    }
    tables = {
        "stages": stage_rows(report, comparison),
        "changes": change_rows(comparison) if comparison else [],
        "benchmarks": benchmark_rows(read_measurements(folder.path / "benchmark.json")),
        "faults": fault_rows(evidence_of(folder.path)),
    }
    for key, page in pages.items():
        if page:
            create_markdown_artifact(key=key, markdown=page, description=plain(report.verdict_line()))
    for key, rows in tables.items():
        if rows:
            more = f" (the first {SHOWN_ROWS} of {len(rows)})" if len(rows) > SHOWN_ROWS else ""
            create_table_artifact(key=key, table=rows[:SHOWN_ROWS], description=f"{key.capitalize()}{more}")


def verdict_page(report: Report, comparison: RunComparison | None = None) -> str:
    """Return the verdict, why, what changed, and how to repeat the run, as Markdown."""
    parts = [f"# {report.verdict.name}", _code(report.reason)]
    if comparison:
        green = f" since the last green run, {comparison.last_green}" if comparison.last_green else ""
        parts += ["What changed:", _code(f"{comparison.status_text()}{green}")]
    return "\n\n".join([*parts, "Repeat it with:", _code(report.command)])


def failures_page(found: Sequence[Problem], doubtful: Sequence[StageResult] = ()) -> str:
    """Return what did not pass by its likely cause, with the ends of logs, as Markdown; "" if all passed."""
    parts = [text for stage in doubtful for text in (f"## stage {plain(stage.name)}", _code(stage.doubt))]
    parts += [part for problem in found[:SHOWN_PROBLEMS] for part in _problem(problem)]
    if len(found) > SHOWN_PROBLEMS:
        parts.append(f"and {len(found) - SHOWN_PROBLEMS} more causes, in the report")
    return "\n\n".join(parts)


def _problem(problem: Problem) -> Iterator[str]:
    tests = len(problem.checks)
    yield f"## {problem.kind}, {tests} {'test' if tests == 1 else 'tests'}"
    lines = [problem.headline or "no reason was given", ""]
    lines += [f"{stage}: {check.name}" for stage, check in problem.checks[:SHOWN_TESTS]]
    lines += [f"and {tests - SHOWN_TESTS} more"] if tests > SHOWN_TESTS else []
    yield _code("\n".join(lines))
    _, first = problem.checks[0]
    if first.detail:
        yield _code(first.detail[-TAIL_CHARACTERS:])
    if first.log_tail:
        yield "Last output:"
        yield _code(first.log_tail[-TAIL_CHARACTERS:])


def links_page(report: Report, link: str, place: str) -> str:
    """Return where the report is, as Markdown: links in a table artifact do not work in the UI's v2.

    `place` is where it is kept, which is nothing to click on.
    """
    target = re.sub(r"[^\w:/.,~%?&=;@+-]", lambda char: "".join(f"%{b:02X}" for b in char[0].encode()), link)
    head = "| run | report | kept in |\n|---|---|---|"
    return f"{head}\n| {report.run} | [open the report](<{target}>) | {plain(place).replace('|', '/')} |"


def stage_rows(report: Report, comparison: RunComparison | None = None) -> list[Row]:
    """Return one row per stage."""
    return [
        {
            "stage": stage.name,
            "outcome": stage.outcome.name.lower(),
            "tests": ", ".join(f"{count} {kind}" for kind, count in stage.counts.items()),
            "time": duration(stage.duration_s),
            "changed": plain(comparison.status_text(stage.name)) if comparison else "",
            "reason": plain(stage.reason),
        }
        for stage in report.stages
    ]


def change_rows(comparison: RunComparison) -> list[Row]:
    """Return one row per check of which there is something to say."""
    return [
        {
            "status": each.status,
            "stage": each.stage,
            "test": plain(each.check),
            "since run": plain(each.since_run),
            "first failing commit": plain(each.since_commit[:12]),
            "age": age((comparison.at - each.since).total_seconds()) if comparison.at and each.since else "",
        }
        for each in comparison.standings
    ]


def benchmark_rows(measurements: Sequence[Measurement]) -> list[Row]:
    """Return one row per measurement, with its goal and whether it is reached."""
    reached = {True: "yes", False: "no", None: ""}
    return [
        {
            "measurement": plain(f"{each.name} {each.metric}"),
            "value": plain(f"{number(each.value)} {each.unit}"),
            "goal": "" if each.goal is None else plain(f"{number(each.goal)} {each.unit}"),
            "reached": reached[each.reaches_goal],
            "samples": str(each.samples),
            "conditions": plain(", ".join(f"{name} {value}" for name, value in each.parameters.items())),
        }
        for each in measurements
    ]


def fault_rows(evidence: Evidence) -> list[Row]:
    """Return one row per fault: its effect, how long it lasted, how requests were served, the recovery."""
    return [
        {
            "fault": plain(fault.label),
            "test": plain(fault.test.rpartition("::")[2]),
            "effect": plain(fault.proof) or "not proved",
            "effect gone": plain(fault.stop_proof) or "not proved",
            "lasted": "not known" if fault.stop is None else duration(fault.stop - fault.start),
            "requests served": "" if fault.served is None else f"{fault.served.availability:.2%}",
            "recovered": _recovery(fault),
        }
        for fault in evidence.faults
    ]


def _recovery(fault: FaultWindow) -> str:
    if fault.recovered is None or fault.recovery_s is None:
        return "not measured"
    return f"{'in' if fault.recovered else 'not within'} {duration(fault.recovery_s)}"


def plain(text: str) -> str:
    """Return one short line that says the same, without Markdown, HTML or an address to click on."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(text.split())
    line = line.replace("://", ": //").replace("](", "] (").replace("www.", "www .")
    line = line.translate({ord("<"): "\u2039", ord(">"): "\u203a", ord("`"): "'", ord("@"): "@\u200b"})
    return line if len(line) <= CELL_CHARACTERS else f"{line[: CELL_CHARACTERS - 1]}…"


def _code(text: str) -> str:
    """Return a code block, which nothing in the text can end."""
    shown = "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
    if len(shown) > 2 * TAIL_CHARACTERS:
        shown = f"{shown[: 2 * TAIL_CHARACTERS]}…"
    fence = "```"
    while fence in shown:
        fence += "`"
    return f"{fence}text\n{shown}\n{fence}"
