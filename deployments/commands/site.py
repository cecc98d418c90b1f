"""`kvsync-ci site`: the pages of all runs."""

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, installation, say


def site(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Write a page of all runs that opens offline: verdicts, tests by runs, trends, what fails since when.

    Each run does so at its end; older pages are written again only if they changed.
    """
    from kvsync.ci.archive.archive import existing_archive
    from kvsync.ci.handover.site import make_site

    settings = installation().settings
    with existing_archive(settings, report_dir) as archive:
        made, address = make_site(archive, report_dir, settings.store)
    say(f"{made.index}: {made.runs} runs, {made.pages} pages, {len(made.written)} of them written")
    if address:
        say(f"stored: {address}")
