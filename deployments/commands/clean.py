"""`kvsync-ci clean`: end and remove what runs left behind."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated

import typer

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, run_folders, say
from kvsync.testing.processes.ledger import Ledger


def clean(
    report_dir: ReportDir = DEFAULT_REPORTS,
    check: Annotated[bool, typer.Option("--check", help="Only look; exit 1 when something is left.")] = False,
) -> None:
    """End and remove what runs and comparisons left behind, even those that were killed; reports stay.

    What is still going on is left alone.
    """
    left, failed = 0, 0
    for owner, fates in (*_of_runs(report_dir, check=check), *_of_comparisons(check=check)):
        for line, failure in fates.items():
            why = f": not removed: {failure}" if failure else ""
            say(f"{owner}: {line}{why}")
        left += len(fates)
        failed += sum(map(bool, fates.values()))
    if not left:
        say("nothing is left behind")
    elif check:
        say(f"{left} left behind")
    else:
        say(f"{left - failed} removed" + (f", {failed} not" if failed else ""))
    raise typer.Exit(1 if failed or (check and left) else 0)


def _of_runs(report_dir: Path, *, check: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each run with what it left, and why that is still there; "" for no reason."""
    from kvsync.ci.cleaning.labelled import on_this_machine
    from kvsync.ci.cleaning.launcher import is_running
    from kvsync.ci.cleaning.residue import clear, find

    marked = on_this_machine()
    for folder in reversed(run_folders(report_dir)):
        if is_running(folder.ledger):
            say(f"{folder.path.name}: still running, left alone")
            continue
        residue = find(folder.ledger, marked=marked)
        fates = dict.fromkeys(residue.describe(), "") if check else clear(residue, Ledger(folder.ledger))
        yield folder.path.name, fates


def _of_comparisons(*, check: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the same of each `kvsync-ci ab` that was killed."""
    from kvsync.ci.paired.folder import abandoned
    from kvsync.testing.processes.scratch import remove

    for folder in abandoned(Path(gettempdir())):
        failure = ""
        try:
            if not check:
                remove(folder)
        except OSError as error:
            failure = str(error)
        yield "kvsync-ci ab", {f"path {folder}": failure}
