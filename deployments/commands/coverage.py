"""`kvsync-ci coverage`: how much of a repository ran, and whether that is enough."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from deployments.commands.console import AsJson, coloured, console, say, say_json
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.project.coverage import Counted, CoverageGate
from kvsync.ci.readers.coverage.coverage import Tally, line_ranges
from kvsync.ci.report.report import EXIT_STATUS
from kvsync.ci.revision import difference_from, tracked_files
from kvsync.errors import ConfigError
from kvsync.pods import path as place
from kvsync.pods import problems
from kvsync.testing.results.outcome import NEUTRAL, Outcome, StageResult, worded
from kvsync.testing.results.texts import shortened

if TYPE_CHECKING:
    from kvsync.ci.readers.coverage.assessment import Assessment
    from kvsync.ci.readers.coverage.coverage import Coverage

LEAST = 10
"""Files shown, the least covered ones."""


def coverage(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Profiles of coverage.py (JSON), Cobertura, LCOV or Go; what ran in one of them ran."
        ),
    ],
    minimum: Annotated[float | None, typer.Option(help="Percent of everything.")] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=PERCENT", help="Of files that a .gitignore pattern fits; several may be given."
        ),
    ] = None,
    changed: Annotated[float | None, typer.Option(help="Percent of the lines changed since --base.")] = None,
    base: Annotated[str, typer.Option(metavar="COMMIT", help="What changes are counted from.")] = "",
    of: Annotated[
        Counted, typer.Option(help="Lines, branches, or both together, as coverage.py counts.")
    ] = "both",
    html: Annotated[
        Path | None, typer.Option(help="Write a page here, with the lines that did not run.")
    ] = None,
    repository: Annotated[Path, typer.Option(help="The folder whose files were measured.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Show coverage in all, by what is asked for, and of changed lines; fail if it is not enough.

    Exit status: 0 enough, or nothing was asked for; 1 not enough; 2 unknown, as of a profile of other files.
    """
    gate = _gate(minimum, path or (), changed, of)
    found, result = _assess(files, gate, base, repository.resolve())
    if html:
        _write(found, html, str(repository.resolve()))
    if as_json:
        say_json({**result.to_json(), "total": _shares(found.coverage)})
    else:
        _say(found, result)
        if html:
            say(f"page: {html}")
    raise typer.Exit(_status(found, result))


def _number(text: str) -> float | str:
    """Return a number of the command line; what is none the gate refuses."""
    try:
        return float(text)
    except ValueError:
        return text


def _gate(minimum: float | None, paths: Sequence[str], changed: float | None, of: Counted) -> CoverageGate:
    """Return what is asked for; raises ConfigError with every problem."""
    pairs = [each.rpartition("=") for each in paths]
    odd = [
        f"--path {text}: write PATTERN=PERCENT"
        for text, pair in zip(paths, pairs, strict=True)
        if not pair[0]
    ]
    if odd:
        raise ConfigError("coverage", odd)
    given = {
        "minimum": minimum,
        "paths": {each[0]: _number(each[2]) for each in pairs},
        "changed": changed,
        "of": of,
    }
    try:
        return CoverageGate.model_validate(given)
    except ValidationError as error:
        said = [f"--{place(where)}: {what}" for where, what in problems(error)]
        raise ConfigError("coverage", said) from error


def _assess(
    files: Sequence[Path], gate: CoverageGate, base: str, repository: Path
) -> tuple["Assessment", StageResult]:
    """Return what files amount to, and the result; its doubts are those of the files."""
    from kvsync.ci.readers.coverage.assessment import assessed
    from kvsync.ci.readers.coverage.changes import changed_lines
    from kvsync.ci.readers.files import read_files
    from kvsync.ci.readers.reading import ResultFile, result_of

    read = read_files(files, name="coverage", root=str(repository))
    if read.coverage is None:
        raise ConfigError("coverage", [f"no file is a profile: {', '.join(read.formats)}"])
    diff = difference_from(repository, base) if base else None
    if base and diff is None:
        raise ConfigError("--base", [f"{base}: no such commit in {repository}; fetch it, or name another"])
    found = assessed(
        read.coverage,
        gate,
        files=tracked_files(repository),
        changes=None if diff is None else changed_lines(diff),
    )
    doubts = [read.result.doubt] if read.result.doubt else []
    checked = ResultFile(checks=found.checks, doubts=doubts, remarks=found.remarks)
    return found, result_of("coverage", [("", checked)])


def _is_judged(result: StageResult) -> bool:
    """Whether there is a verdict: something was asked for that applies, or the files are in doubt."""
    return bool(result.doubt) or any(check.kind not in NEUTRAL for check in result.checks)


def _status(found: "Assessment", result: StageResult) -> int:
    if _is_judged(result):
        return EXIT_STATUS[result.outcome]
    return EXIT_STATUS[Outcome.PASSED if found.coverage.tally.lines else Outcome.UNKNOWN]


def _write(found: "Assessment", html: Path, title: str) -> None:
    from kvsync.ci.page.coverage_page import write_coverage_page

    try:
        write_coverage_page(found, html, title)
    except OSError as error:
        raise ConfigError(str(html), [f"the page cannot be written: {error}"]) from error


def _shares(coverage: "Coverage") -> dict[str, float | None]:
    tally = coverage.tally
    return {"both": tally.percent, "lines": tally.percent_lines, "branches": tally.percent_branches}


def _say(found: "Assessment", result: StageResult) -> None:
    least = sorted(found.coverage.files.items(), key=lambda each: each[1].tally.rank)
    table = plain_table("file", "both", "lines", "branches", "missed", whole=("both", "lines", "branches"))
    table.add_row("all files", *_columns(found.coverage.tally), "")
    for name, each in least[:LEAST]:
        missed = shortened(line_ranges(each.missed), 60)
        table.add_row(escape(name), *_columns(each.tally), escape(missed))
    say_table(table)
    for remark in result.remarks:
        say(f"remark: {remark}")
    for check in result.checks:
        console.print(
            f"{coloured(check.outcome, worded(check.kind))} {escape(check.name)}: {escape(check.detail)}",
            soft_wrap=True,
        )
    if _is_judged(result):
        console.print(coloured(result.outcome, result.summary()), soft_wrap=True)


def _columns(tally: Tally) -> list[str]:
    shares = (tally.percent, tally.percent_lines, tally.percent_branches)
    return ["-" if share is None else f"{share:.1f}" for share in shares]
