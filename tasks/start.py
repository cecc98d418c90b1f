"""The beginning of a run: its folder, its ledger, and what its stages may use."""

import os
import threading

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.testing.ledger import Ledger
from kvsync.testing.run_folder import RunFolder
from kvsync.testing.stage import StageContext
from kvsync.testing.stage_environment import stage_environment
from tasks.parameters import Parameters


@task(name="start", task_run_name="start", cache_policy=NO_CACHE)
def start_run(parameters: Parameters, stop: threading.Event) -> StageContext:
    """Make the folder of the run and write down what was asked for, before anything else happens."""
    folder = RunFolder(parameters.run_dir)
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.parameters.write_text(parameters.model_dump_json(indent=1))
    repeat = parameters.repeat
    return StageContext(
        run_dir=folder.path,
        repository=parameters.checkout,
        ledger=Ledger(folder.ledger, run=parameters.run),
        profile=parameters.profile,
        cluster=parameters.cluster,
        seed=parameters.seed,
        trace=parameters.trace,
        keep=parameters.keep,
        attempt=repeat.attempt if repeat else 1,
        failed_only=bool(repeat and repeat.failed_only),
        other_code=repeat.other_code if repeat else "",
        environ=stage_environment(os.environ, trusted=not parameters.source or parameters.source.trusted),
        stop=stop,
    )
