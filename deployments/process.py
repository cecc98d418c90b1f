"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import get_client

from flows.pipeline import run_pipeline
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.environment import is_secret


@contextmanager
def without_secrets(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Take the secrets out of an environment for a while."""
    taken = {name: environ.pop(name) for name, value in [*environ.items()] if is_secret(name, value)}
    try:
        yield
    finally:
        environ.update(taken)


if __name__ == "__main__":
    if not os.environ.get("PREFECT_API_URL"):
        # Prefect starts its temporary server with all of our environment, where tests could read it.
        with without_secrets(os.environ), get_client(sync_client=True):
            pass
    run_pipeline(Parameters.of(RunFolder(Path(sys.argv[1]))), return_state=True)
