"""`kvsync-ci`: see what a run needs, run the pipeline, look at its runs, clean up after them.

What takes long to import (Prefect, SQLAlchemy, boto3, charts, Kubernetes) is imported within the commands
that need it, so that `list` and `show` answer at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands.archive import flaky, history
from deployments.commands.badge import badge
from deployments.commands.clean import clean
from deployments.commands.compare import compare
from deployments.commands.console import complaining, environ
from deployments.commands.coverage import coverage
from deployments.commands.doctor import doctor
from deployments.commands.ingest import ingest
from deployments.commands.measuring.ab import ab
from deployments.commands.measuring.baseline import baseline
from deployments.commands.measuring.shifts import shifts
from deployments.commands.plan import init, plan
from deployments.commands.rerun import junit, recheck, rerun
from deployments.commands.run import run
from deployments.commands.serve import deploy, serve
from deployments.commands.show import list_runs, show
from deployments.commands.site import site
from deployments.commands.stale import stale
from deployments.commands.store import prune, upload
from kvsync.ci.concealment import conceal, keep
from kvsync.ci.settings import CONFIG_VARIABLE
from kvsync.ci.stages.environment import secrets_apart

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(help=__doc__)
def settings_of(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The pipeline's settings; else kvsync-ci.toml beside the pipeline itself."
        ),
    ] = None,
) -> None:
    """Have every process of the command read these settings."""
    if config:
        environ[CONFIG_VARIABLE] = str(config.resolve())


app.command("list")(list_runs)
for command in (
    *(init, plan, run, show, compare, clean, doctor, history, flaky),
    *(rerun, recheck, junit, ingest, coverage, ab, shifts),
    *(deploy, serve, upload, prune, stale, badge, site),
):
    app.command()(command)
app.add_typer(baseline, name="baseline")


def main() -> None:
    """Run the command line; what went wrong is said in words on standard error, with exit status 2."""
    conceal()
    keep(secrets_apart(environ)[1])
    complaining(lambda: app(args=config_first(sys.argv[1:])))


def config_first(words: Sequence[str]) -> list[str]:
    """Put `--config FILE` before the command: it is one of all of them, and people write it anywhere."""
    for at, word in enumerate(words):
        length = 2 if word == "--config" else 1
        if length == 2 or word.startswith("--config="):
            return [*words[at : at + length], *words[:at], *words[at + length :]]
    return list(words)


if __name__ == "__main__":
    main()
