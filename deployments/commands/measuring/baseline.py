"""`kvsync-ci baseline accept`: let a measure get worse, for a time, by an entry that is reviewed."""

import json
import math
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, say
from kvsync.ci.project.found_stages import Compare
from kvsync.ci.report.report import Report
from kvsync.ci.run.accepted import ACCEPTED, Accepted, AcceptedSlowdown, load_accepted
from kvsync.ci.run_folder import find_run
from kvsync.ci.stages.compared.checks import MEASURE, SLOWER
from kvsync.errors import ConfigError, UnknownName
from kvsync.pods import path, problems
from kvsync.testing.results.outcome import Outcome
from kvsync.testing.results.whole import write_whole

NOISE = 1 + Compare.model_fields["floor"].default / 100
"""The next run may measure as much more without being slower: else every other run would fail."""

baseline = typer.Typer(no_args_is_help=True, help="What measures of the tested code are held against.")


@baseline.callback()
def _group() -> None:
    """Keep `accept` a word of its own: a single command would take its place."""


@baseline.command()
def accept(
    measure: Annotated[str, typer.Argument(metavar="MEASURE", help="As the report names it.")],
    by: Annotated[str, typer.Option(metavar="OWNER", help="Who answers for it, such as @name.")],
    reason: Annotated[str, typer.Option(help="What it costs more for.")],
    until: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="The last day that it is accepted."),
    ],
    up_to: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="How much more it may cost; else what the run measured, and 3 % for noise.",
        ),
    ] = None,
    issue: Annotated[str, typer.Option(help="Where it is talked about.")] = "",
    run: Annotated[str, typer.Option(metavar="RUN", help="In which run it was slower.")] = "last",
    report_dir: ReportDir = DEFAULT_REPORTS,
    repository: Annotated[Path, typer.Option(help="Whose accepted.toml is written.")] = Path(),
) -> None:
    """Write an entry of accepted.toml. It counts for pull requests once it is on the branch they ask for."""
    measured = up_to if up_to is not None else _measured(report_dir, run, measure)
    asked = {
        "measure": measure,
        "up_to": measured,
        "owner": by,
        "reason": reason,
        **({"issue": issue} if issue else {}),
        "added": datetime.now(UTC).date(),
        "expires": until.date(),
    }
    try:
        entry = AcceptedSlowdown.model_validate(asked)
    except ValidationError as error:
        wrong = [f"{path(where)}: {why}" if where else why for where, why in problems(error)]
        raise ConfigError("the entry", wrong) from error
    file = repository / ACCEPTED
    _append(file, entry)
    say(f"{file}: {measure} may cost {entry.up_to:g} % more until {entry.expires}")
    say("have it reviewed and merged:")
    say("a run of a pull request heeds the file of its base branch, one by hand this one")


def _measured(report_dir: Path, run: str, measure: str) -> float:
    """Return by how many percent a run found a measure slower, with room for noise, rounded up.

    Raises UnknownName for one that was not slower, and ConfigError where none was, or there is no run.
    """
    report = Report.read(find_run(report_dir, run, having="report.json").report)
    slower = {
        check.properties[MEASURE]: float(check.properties[SLOWER].rstrip("%"))
        for stage in report.stages
        for check in stage.checks
        if SLOWER in check.properties and check.outcome is Outcome.FAILED
    }
    if not slower:
        raise ConfigError(
            f"run {report.run}", ["nothing is slower there; name another run, or give --up-to PERCENT"]
        )
    if measure not in slower:
        raise UnknownName("slower measure", measure, list(slower))
    return float(math.ceil(((1 + slower[measure] / 100) * NOISE - 1) * 100))


def _append(file: Path, entry: AcceptedSlowdown) -> None:
    """Write an entry behind the others. Raises ConfigError for a file that is wrong already, or would be."""
    load_accepted(file)
    before = file.read_text(encoding="utf-8-sig") if file.exists() else ""
    text = (before.rstrip("\n") + "\n\n" if before else "") + "".join(_lines(entry))
    Accepted.model_validate(tomllib.loads(text))
    write_whole(file, text)


def _lines(entry: AcceptedSlowdown) -> Iterator[str]:
    yield "[[slower]]\n"
    for name in ("measure", "up_to", "owner", "reason", "issue", "added", "expires"):
        value = getattr(entry, name)
        if value != "":
            said = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value}"
            yield f"{name} = {said}\n"
