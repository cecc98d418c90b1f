"""`kvsync-ci`: see what a run needs, run the pipeline, look at its runs, clean up after them.

What takes long to import (Prefect, SQLAlchemy, boto3, charts, Kubernetes) is imported within the commands
that need it, so that `list` and `show` answer at once.
"""

import typer

from deployments.commands.archive import flaky, history
from deployments.commands.badge import badge
from deployments.commands.clean import clean
from deployments.commands.compare import compare
from deployments.commands.console import complaining, environ
from deployments.commands.coverage import coverage
from deployments.commands.doctor import doctor
from deployments.commands.ingest import ingest
from deployments.commands.rerun import junit, recheck, rerun
from deployments.commands.run import run
from deployments.commands.serve import deploy, serve
from deployments.commands.show import list_runs, show
from deployments.commands.site import site
from deployments.commands.stale import stale
from deployments.commands.store import prune, upload
from kvsync.ci.concealment import conceal, keep
from kvsync.ci.stages.environment import secrets_apart

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("list")(list_runs)
for command in (
    *(run, show, compare, clean, doctor, history, flaky, rerun, recheck, junit, ingest, coverage),
    *(deploy, serve, upload, prune, stale, badge, site),
):
    app.command()(command)


def main() -> None:
    """Run the command line; what went wrong is said in words on standard error, with exit status 2."""
    conceal()
    keep(secrets_apart(environ)[1])
    complaining(app)


if __name__ == "__main__":
    main()
