"""`kvsync-ci ab`: whether the files at hand are slower than another commit, measured in turns."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from deployments.commands.console import AsJson, coloured, console, environ, say, say_json
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.paired.calibration import Calibration, calibrated
from kvsync.ci.paired.judgement import (
    PairedLimits,
    PairedMetric,
    PairedVerdict,
    overall,
)
from kvsync.ci.paired.trial import OUTPUT, MeasuredProgram, Trial, version_of
from kvsync.ci.report.report import EXIT_STATUS
from kvsync.testing.results.outcome import Outcome

OUTCOMES: Mapping[PairedVerdict, Outcome] = {
    "regression": Outcome.FAILED,
    "passed": Outcome.PASSED,
    "inconclusive": Outcome.UNKNOWN,
}


def ab(
    base: Annotated[str, typer.Argument(metavar="COMMIT", help="What the files at hand are compared with.")],
    command: Annotated[
        list[str], typer.Argument(help="What measures, after `--`: {out} is a new folder for its results.")
    ],
    results: Annotated[
        str, typer.Option(help="Where its results are, in any format of benchmarks; else what it prints.")
    ] = "",
    cpu: Annotated[
        bool,
        typer.Option("--cpu", help="Compare the CPU time of the whole process, besides results or alone."),
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", help="Of the results; else it is known by what is in them.")
    ] = "",
    pairs: Annotated[int, typer.Option(min=5, max=100, help="How often each version runs.")] = 10,
    floor: Annotated[float, typer.Option(min=0, help="Percent: a smaller slowdown does not count.")] = 3.0,
    seen: Annotated[
        float, typer.Option(min=1, help="Percent: what hides such a slowdown is inconclusive.")
    ] = 10.0,
    prepare: Annotated[
        str, typer.Option(help="A command that makes either version ready, such as a build.")
    ] = "",
    aa: Annotated[
        int, typer.Option("--aa", min=0, max=200, help="Compare two copies of COMMIT, so many times.")
    ] = 0,
    repository: Annotated[Path, typer.Option(help="The repository that holds both versions.")] = Path(),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one process.")] = 600.0,
    seed: Annotated[int, typer.Option(help="Decides which version goes first in each pair.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare what the files at hand cost with another commit's: fresh processes in turns, judged by rank.

    What is slower has to be so in a second batch, too. Exit status: 0 not slower, 1 slower, 2 not to be told.
    With --aa: how often it raises a false alarm, and what it would see; 2 if a measure cannot gate.
    """
    limits = PairedLimits(floor=floor / 100, seen=seen / 100)
    program = MeasuredProgram(
        words=command,
        results=results or ("" if cpu and not format_name else OUTPUT),
        cpu=cpu,
        format_name=format_name,
        timeout_s=timeout,
        environ=dict(environ),
    )
    with version_of(repository.resolve(), base) as other:
        trial = Trial(program=program, base=other, head=repository.resolve(), prepare=shlex.split(prepare))
        if aa:
            with version_of(repository.resolve(), base) as same:
                trials = list(replace(trial, head=same).repeated(aa, pairs, seed, limits))
            _say_calibration(calibrated([found for found, _ in trials]), limits, as_json=as_json)
        found, alone = trial.judged(pairs, seed, limits)
    verdict = overall(found)
    if as_json:
        say_json({"verdict": verdict, "metrics": [asdict(each) for each in found], "left_out": [*alone]})
    else:
        _say(found, alone, verdict, limits)
    raise typer.Exit(EXIT_STATUS[OUTCOMES[verdict]])


def _say(
    found: Sequence[PairedMetric], alone: Iterable[str], verdict: PairedVerdict, limits: PairedLimits
) -> None:
    whole = ("change", "p", "sees")
    table = plain_table("metric", "base", "here", *whole, "verdict", whole=whole)
    for each in found:
        table.add_row(*_columns(each))
    say_table(table)
    for name in alone:
        say(f"left out, because not every process of both versions gave it: {name}")
    said = "; ".join(_sentences(found, limits)) or "nothing was measured"
    console.print(coloured(OUTCOMES[verdict], f"{verdict.upper()}: {said}"), soft_wrap=True)


def _say_calibration(found: Sequence[Calibration], limits: PairedLimits, *, as_json: bool) -> NoReturn:
    blind = [each.name for each in found if not each.can_gate(limits)]
    if as_json:
        say_json({"metrics": [asdict(each) for each in found], "unable_to_gate": blind})
    else:
        whole = ("comparisons", "false alarms", "sees")
        table = plain_table("metric", *whole, whole=whole)
        for each in found:
            sees = "-" if each.seen is None else f"{each.seen:.0%}"
            table.add_row(escape(each.name), str(each.trials), str(each.alarms), sees)
        say_table(table)
        say(f"unable to gate at {limits.seen:.0%}: {', '.join(blind)}" if blind else "all of them can gate")
    raise typer.Exit(EXIT_STATUS[Outcome.UNKNOWN if blind or not found else Outcome.PASSED])


def _columns(metric: PairedMetric) -> list[str]:
    base, head = ([*sorted(each)] for each in (metric.samples.base, metric.samples.head))
    seen = "-" if metric.seen is None else f"{metric.seen:.0%}"
    unit = escape(metric.samples.unit)
    return [
        escape(metric.name),
        f"{base[len(base) // 2]:.4g} {unit}",
        f"{head[len(head) // 2]:.4g} {unit}",
        f"{metric.change:+.1%}",
        f"{metric.p:.3f}",
        seen,
        coloured(OUTCOMES[metric.verdict], metric.verdict),
    ]


def _sentences(found: Sequence[PairedMetric], limits: PairedLimits) -> Iterator[str]:
    """Say what is slower, and what cannot be told; or that nothing is."""
    for each in found:
        if each.verdict == "regression":
            yield f"{each.name} costs {each.change:.0%} more"
        if each.verdict == "inconclusive":
            yield f"{each.name}: {each.problem or f'a slowdown of {limits.seen:.0%} would not be seen'}"
    if overall(found) == "passed":
        metrics = "1 metric" if len(found) == 1 else f"{len(found)} metrics"
        yield f"{metrics}, none costs {limits.seen:.0%} more"
