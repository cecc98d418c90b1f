"""The process of one run: `python -m deployments.process RUN_DIR`. Its verdict is in report.json."""

import sys
from pathlib import Path

from flows.pipeline import run_pipeline
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder

if __name__ == "__main__":
    run_pipeline(Parameters.of(RunFolder(Path(sys.argv[1]))), return_state=True)
