"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import atexit
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from deployments.bare_server import FOR_PEOPLE, leave_out
from deployments.temporary_server import TemporaryServer
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.run_folder import RunFolder


def begin(folder: RunFolder, log: int, mark: Mapping[str, str]) -> NoReturn:
    """Be the process of a run, forked from that of a command, which has no threads: all it prints is logged.

    The environment that others see of it stays the command's; what it starts bears the `mark`.
    """
    status = 1
    try:
        _stand_alone(log)
        os.environ.update(mark)
        try:
            main(folder)
        finally:
            _wind_up()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _stand_alone(log: int) -> None:
    """Share neither session, signals, streams nor folder with the command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Path(os.devnull).open("rb") as nothing:
        for source, stream in ((log, 1), (log, 2), (nothing.fileno(), 0)):
            os.dup2(source, stream)
    os.chdir(REPOSITORY)
    sys.path[0] = str(REPOSITORY)


def _wind_up() -> None:
    """Do what Python does at its end, but for taking apart what has been imported."""
    threading._shutdown()  # type: ignore[attr-defined]  # Python's own, as multiprocessing calls it
    atexit._run_exitfuncs()
    sys.stdout.flush()


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
    leave_out(FOR_PEOPLE)
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
