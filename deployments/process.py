"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import os
import sys
from pathlib import Path

from deployments.temporary_server import TemporaryServer
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder


def run(parameters: Parameters, server: TemporaryServer | None) -> None:
    """Run the pipeline with this server, or with the one that PREFECT_API_URL names."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.pipeline import run_pipeline

    if server:
        server.await_start()
    # Not in the environment: what the run starts would take it for a server that stays.
    with temporary_settings({PREFECT_API_URL: server.url} if server else {}):
        run_pipeline(parameters, return_state=True)


if __name__ == "__main__":
    has_server = bool(os.environ.get("PREFECT_API_URL"))
    # Begun before the flow is imported, so that the two take their seconds side by side.
    own = None if has_server else TemporaryServer.start(os.environ)
    run(Parameters.of(RunFolder(Path(sys.argv[1]))), own)
