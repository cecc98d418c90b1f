"""`kvsync-ci deploy` and `kvsync-ci serve`."""

import os

from rich.table import Table

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, console
from kvsync.ci.settings import load_settings


def deploy(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Make the deployments of the Prefect server at PREFECT_API_URL those of the catalogue.

    Done twice, the second time changes nothing, and what was changed in the UI stays. A change of catalogue
    or settings sets a deployment anew, with its schedules and parameters; only what was paused stays so.
    What lasts: the table "serve" of kvsync-ci.toml, and deployments of your own without the tag kvsync-ci.
    """
    # Imported here: Prefect takes seconds, and no other command needs it.
    from deployments.catalogue import catalogue
    from deployments.deploy import deploy
    from kvsync.ci.run.parameters import REPOSITORY

    fates = deploy(catalogue(report_dir, load_settings(REPOSITORY, os.environ)))
    table = Table("deployment", "", box=None, header_style="dim")
    for name, fate in sorted(fates.items()):
        table.add_row(f"pipeline/{name}", fate)
    console.print(table)


def serve(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Prefect's server and UI, a worker and the webhook receiver, until Ctrl-C; kept alive meanwhile.

    With PREFECT_API_URL that server is used instead of an own one. Addresses, the number of runs at a time
    and the rest are in the tables "serve" and "webhook" of kvsync-ci.toml, or in KVSYNC_CI_SERVE_PORT, ...
    """
    # Imported here, since no other command needs it.
    from deployments.service.serve import serve
    from kvsync.ci.run.parameters import REPOSITORY

    settings = load_settings(REPOSITORY, os.environ)
    serve(report_dir, settings, os.environ, lambda line: console.print(line, markup=False, soft_wrap=True))
