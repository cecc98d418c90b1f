"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import gc
import os
import sys
from pathlib import Path

from deployments.temporary_server import TemporaryServer
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder


def main(folder: RunFolder) -> None:
    """Run the pipeline, with a server of its own unless PREFECT_API_URL names one."""
    gc.disable()  # what is imported stays: looking for garbage meanwhile takes a tenth of the time
    import fastapi  # noqa: F401  # server and client use it, and the client would import it later
    from prefect.settings import temporary_settings

    from flows.pipeline import run_pipeline

    gc.freeze()
    server = None if os.environ.get("PREFECT_API_URL") else TemporaryServer.start()
    gc.enable()
    if server:
        server.await_start()
    # Not in the environment: what the run starts would take it for a server that stays.
    with temporary_settings(server.client_settings if server else {}):
        run_pipeline(Parameters.of(folder), return_state=True)


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])))
