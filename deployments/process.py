"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import gc
import os
import sys
from pathlib import Path

from deployments.temporary_server import TemporaryServer
from kvsync.ci.run_folder import RunFolder


def main(folder: RunFolder) -> None:
    """Run the pipeline, with a server of its own unless PREFECT_API_URL names one."""
    gc.disable()  # what is imported stays: looking for garbage meanwhile takes a tenth of the time
    _import_what_both_need()
    gc.freeze()
    server = None if os.environ.get("PREFECT_API_URL") else TemporaryServer.start()
    # While the server starts.
    from prefect.settings import temporary_settings

    from flows.pipeline import run_pipeline
    from kvsync.ci.run.parameters import Parameters

    if server:
        _prepare_what_comes_later()
    gc.freeze()
    gc.enable()
    if server:
        server.await_start()
    # Not in the environment: what the run starts would take it for a server that stays.
    with temporary_settings(server.client_settings if server else {}):
        run_pipeline(Parameters.of(folder), return_state=True)


def _import_what_both_need() -> None:
    """Import what the run and its server share, which the server is then forked with."""
    import fastapi  # noqa: F401
    import jinja2  # noqa: F401
    import prefect.artifacts
    import prefect.client.orchestration
    import prefect.main  # noqa: F401
    import sqlalchemy.dialects.postgresql
    import sqlalchemy.dialects.sqlite
    import sqlalchemy.ext.asyncio
    import sqlalchemy.orm  # noqa: F401


def _prepare_what_comes_later() -> None:
    """Import what a run would import on its way, and compile its templates, while its server starts."""
    import prefect.task_engine
    import prefect.utilities.visualization  # noqa: F401

    import kvsync.ci.stages.making  # noqa: F401
    from kvsync.ci.page.page import template
    from kvsync.ci.site.pages import site_template

    template()
    site_template()


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])))
