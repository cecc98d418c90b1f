"""`kvsync-ci clean`: end and remove what runs left behind."""

from typing import Annotated

import typer

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, run_folders, say
from kvsync.testing.processes.ledger import Ledger


def clean(
    report_dir: ReportDir = DEFAULT_REPORTS,
    check: Annotated[bool, typer.Option("--check", help="Only look; exit 1 when something is left.")] = False,
) -> None:
    """End and remove what runs left behind, even those that were killed; reports stay.

    A run that is still going on is left alone.
    """
    from kvsync.ci.cleaning.labelled import on_this_machine
    from kvsync.ci.cleaning.launcher import is_running
    from kvsync.ci.cleaning.residue import clear, find

    left, failed = 0, 0
    marked = on_this_machine()
    for folder in reversed(run_folders(report_dir)):
        if is_running(folder.ledger):
            say(f"{folder.path.name}: still running, left alone")
            continue
        residue = find(folder.ledger, marked=marked)
        fates = dict.fromkeys(residue.describe(), "") if check else clear(residue, Ledger(folder.ledger))
        for line, failure in fates.items():
            why = f": not removed: {failure}" if failure else ""
            say(f"{folder.path.name}: {line}{why}")
        left += len(fates)
        failed += sum(map(bool, fates.values()))
    if not left:
        say("nothing is left behind")
    elif check:
        say(f"{left} left behind")
    else:
        say(f"{left - failed} removed" + (f", {failed} not" if failed else ""))
    raise typer.Exit(1 if failed or (check and left) else 0)
