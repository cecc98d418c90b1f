"""`kvsync-ci history` and `kvsync-ci flaky`: what the archive knows of the runs so far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deployments.commands.console import (
    DEFAULT_REPORTS,
    START_ONE,
    AsJson,
    ReportDir,
    coloured,
    console,
    installation,
    say,
    say_json,
)
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.archive.comparison import CheckId
from kvsync.ci.archive.flakiness import CLEAN_RUNS, Ending, Flakiness, failing_streak, flakiness
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.run.quarantine import QuarantineEntry, load_quarantine

if TYPE_CHECKING:
    from rich.table import Table

    from kvsync.ci.archive.archive import Archive
    from kvsync.ci.archive.records import PastRun, PastStage, RunScope


LETTERS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", None: "[yellow]?[/]"}

NO_RUN = f"no run is in the archive; {START_ONE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One check of one scope, with how it ended lately, the oldest ending first."""

    scope: "RunScope"
    stage: str
    name: str
    endings: Sequence[Ending]

    @property
    def flakiness(self) -> Flakiness:
        """What the endings say of it."""
        return flakiness(self.endings)

    @property
    def verdict(self) -> str:
        """What is to be said of it in a word: it is not steady while it fails, or was never decided."""
        found = self.flakiness
        if found.verdict != "steady":
            return found.verdict
        return "undecided" if not found.decided else "failing" if failing_streak(self.endings) else "steady"

    def to_json(self) -> dict[str, object]:
        """Return everything about it as plain JSON values."""
        found, streak = self.flakiness, failing_streak(self.endings)
        return {
            "test": self.name,
            "stage": self.stage,
            "repository": self.scope.repository,
            "profile": self.scope.profile,
            "cluster": self.scope.cluster,
            "verdict": found.verdict,
            "decided": found.decided,
            "failures": found.failures,
            "failure_rate": [round(rate, 4) for rate in found.failure_rate],
            "flips": found.flips,
            "flip_rate": round(found.flip_rate, 4),
            "proofs": list(found.proofs),
            "clean_runs": found.clean_runs,
            "failing_since": _when(streak[0]) if streak else None,
            "endings": [{**_when(each), "kind": each.kind, "mixed": each.mixed} for each in self.endings],
        }


def history(
    stage: Annotated[str, typer.Option(metavar="STAGE", help="Only runs with this stage.")] = "",
    test: Annotated[str, typer.Option(metavar="NAME", help="How tests with this in their name ended.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many runs to go back.")] = 20,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Show earlier runs, the newest first; or how tests ended in them, the newest last."""
    with _archive(report_dir) as archive:
        if test:
            found = archive.endings_of(test)
            known = [
                each for scope in found for each in _known(scope, found[scope]) if stage in ("", each.stage)
            ]
            _show_tests(known, limit, as_json=as_json)
        else:
            _show_runs(archive.series(stage=stage, limit=limit), stage, as_json=as_json)


def flaky(
    repository: Annotated[
        Path | None, typer.Option(help="The folder whose quarantine.toml is shown.")
    ] = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Show which tests are flaky and which are broken, and the tests in quarantine with their end."""
    file = (repository or REPOSITORY) / installation().settings.archive.quarantine
    quarantine = load_quarantine(file).quarantine
    today = datetime.now(UTC).date()
    with _archive(report_dir) as archive:
        scopes = archive.scopes()
        bad = [
            known
            for scope in scopes
            for known in _known(scope, archive.endings(scope))
            if known.flakiness.verdict != "steady"
        ]
        held = {entry: standing(entry, today, _clean_runs(archive, entry)) for entry in quarantine}
    if as_json:
        entries = [{**entry.model_dump(mode="json"), "standing": text} for entry, text in held.items()]
        say_json({"tests": [each.to_json() for each in bad], "quarantine": entries})
        return
    if bad:
        say_table(_flaky_table(bad))
    else:
        say("no test is flaky or broken" if scopes else NO_RUN)
    if held:
        say_table(_quarantine_table(held))


def standing(entry: QuarantineEntry, today: date, clean_runs: int) -> str:
    """Say what becomes of an entry of the quarantine: it is over, can be taken out, or holds."""
    if entry.is_over(today):
        return "over: the test gates again; mend it or take the entry out"
    if clean_runs >= CLEAN_RUNS:
        return f"can be taken out: passed in the last {clean_runs} runs"
    return "holds" if entry.holds(today) else "does not hold yet"


def _archive(report_dir: Path) -> "Archive":
    from kvsync.ci.archive.archive import existing_archive

    return existing_archive(installation().settings, report_dir)


def _known(scope: "RunScope", endings: Mapping[CheckId, Sequence[Ending]]) -> Iterator[Known]:
    for (stage, name), each in sorted(endings.items()):
        yield Known(scope=scope, stage=stage, name=name, endings=each)


def _clean_runs(archive: "Archive", entry: QuarantineEntry) -> int:
    """Return how often a test in quarantine passed last; of its cases and clusters the least often."""
    found = [
        flakiness(endings).clean_runs
        for scope in archive.endings_of(entry.test).values()
        for (_, name), endings in scope.items()
        if entry.covers(name)
    ]
    return min(found, default=0)


def _show_runs(runs: Sequence["PastRun"], stage: str, *, as_json: bool) -> None:
    if as_json:
        say_json([_run_json(run) for run in runs])
        return
    if not runs:
        say(f"no run with a stage {stage!r} is in the archive" if stage else NO_RUN)
        return
    table = plain_table("run", "commit", "of", "profile", "verdict", "stages", whole=("run", "commit"))
    for run in runs:
        shown = [each for each in run.stages if stage in ("", each.name)]
        table.add_row(
            escape(run.run),
            escape(run.commit[:10]) + ("*" if run.dirty else ""),
            escape(f"{run.scope.repository} {f'#{run.pull_request}' if run.pull_request else run.branch}"),
            escape(f"{run.scope.profile}, {run.scope.cluster}"),
            coloured(run.verdict, run.verdict.name.lower()),
            ", ".join(_stage_text(each, counts=bool(stage)) for each in shown),
        )
    say_table(table)


def _stage_text(stage: "PastStage", *, counts: bool) -> str:
    text = coloured(stage.outcome, stage.name)
    if not counts:
        return text
    kinds = ", ".join(f"{count} {kind}" for kind, count in stage.counts.items())
    return f"{text} {stage.duration_s:.0f} s: {kinds}"


def _show_tests(known: Sequence[Known], limit: int, *, as_json: bool) -> None:
    if as_json:
        say_json([each.to_json() for each in known])
        return
    if not known:
        say("no such test is in the archive")
    for each in known:
        say(f"{each.name} ({each.scope.repository}, {each.scope.profile}, {each.scope.cluster})")
        row = "".join(LETTERS[ending.side] for ending in each.endings[-limit:])
        streak = failing_streak(each.endings)
        rate = each.flakiness
        failed = f", failed in {_rate(rate)}" if rate.decided else " on the reference branch"
        since = f", failing since {_first(streak[0])}" if streak else ""
        console.print(
            f"  {row} {each.verdict}{failed}{escape(since)}",
            highlight=False,
            soft_wrap=True,
        )


def _rate(found: Flakiness) -> str:
    """Say how often it failed, and between which rates it really does."""
    if not found.decided:
        return "none decided"
    low, high = found.failure_rate
    return f"{found.failures} of {found.decided} ({low:.0%} to {high:.0%})"


def _flaky_table(bad: Sequence[Known]) -> "Table":
    table = plain_table("test", "profile", "verdict", "fails in", "changed sides", "passed and failed at")
    for each in sorted(bad, key=lambda each: (-each.flakiness.flips, each.name)):
        found = each.flakiness
        table.add_row(
            escape(each.name),
            f"{each.scope.profile}, {each.scope.cluster}",
            f"[{'red' if found.verdict == 'broken' else 'yellow'}]{found.verdict}[/]",
            _rate(found),
            f"{found.flips} times",
            escape(", ".join(commit[:10] for commit in found.proofs[-3:])),
        )
    return table


def _quarantine_table(held: Mapping[QuarantineEntry, str]) -> "Table":
    table = plain_table("test", "owner", "until", "issue", "", title="quarantine")
    for entry, text in held.items():
        table.add_row(escape(entry.test), escape(entry.owner), str(entry.expires), escape(entry.issue), text)
    return table


def _when(ending: Ending) -> dict[str, object]:
    return {"run": ending.run, "commit": ending.commit, "at": ending.at.isoformat()}


def _first(ending: Ending) -> str:
    return f"run {ending.run}, commit {ending.commit[:10] or 'not known'}"


def _run_json(run: "PastRun") -> dict[str, object]:
    return {
        "run": run.run,
        "started_at": run.started_at.isoformat(),
        "duration_s": run.duration_s,
        "repository": run.scope.repository,
        "commit": run.commit,
        "branch": run.branch,
        "pull_request": run.pull_request,
        "trigger": run.trigger,
        "profile": run.scope.profile,
        "cluster": run.scope.cluster,
        "dirty": run.dirty,
        "verdict": run.verdict.name.lower(),
        "reason": run.reason,
        "stages": {
            stage.name: {
                "outcome": stage.outcome.name.lower(),
                "duration_s": stage.duration_s,
                "counts": dict(stage.counts),
            }
            for stage in run.stages
        },
    }
