"""`kvsync-ci deploy` and `kvsync-ci serve`."""

from deployments.commands.console import (
    DEFAULT_REPORTS,
    ReportDir,
    environ,
    installation,
    make_room_for_reports,
    say,
)
from deployments.commands.surroundings import introduce_scheduled
from deployments.commands.tables import plain_table, say_table


def deploy(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Make the deployments of the Prefect server at PREFECT_API_URL those of the catalogue.

    A second time changes nothing, and what was changed in the UI stays. A change of catalogue
    or settings sets a deployment anew, with its schedules and parameters; only what was paused stays so.
    What lasts: the table "serve" of kvsync-ci.toml, and deployments of your own without the tag kvsync-ci.
    """
    from deployments.service.password import with_password

    environ.update(with_password(report_dir, environ))  # before Prefect reads it
    from deployments.catalogue import catalogue
    from deployments.deploy import deploy

    introduce_scheduled(installation().settings, report_dir)
    fates = deploy(catalogue(report_dir, installation().settings))
    table = plain_table("deployment", "", whole=["deployment"])
    for name, fate in sorted(fates.items()):
        table.add_row(f"pipeline/{name}", fate)
    say_table(table)


def serve(report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Prefect's server and UI, a worker and the webhook receiver, until Ctrl-C; kept alive meanwhile.

    With PREFECT_API_URL that server is used instead of starting one. Addresses, the number of runs at a time
    and the rest are in the tables "serve" and "webhook" of kvsync-ci.toml, or in KVSYNC_CI_SERVE_PORT, ...
    """
    from deployments.service.serve import serve

    introduce_scheduled(installation().settings, report_dir)
    make_room_for_reports(report_dir)
    serve(report_dir, installation().settings, environ, say)
