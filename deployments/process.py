"""The process of one run: `python -m deployments.process PARAMETERS.json`. Its verdict is in report.json."""

import sys
from pathlib import Path

from flows.pipeline import run_pipeline
from kvsync.ci.run.parameters import Parameters

if __name__ == "__main__":
    run_pipeline(Parameters.model_validate_json(Path(sys.argv[1]).read_text()), return_state=True)
