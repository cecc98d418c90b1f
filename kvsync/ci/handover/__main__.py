"""`python -m kvsync.ci.handover RUN_DIR` stores a run's folder, and prints what that did as JSON."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from kvsync.ci.handover.storing import upload
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.run_folder import RunFolder

if __name__ == "__main__":
    parameters = Parameters.of(RunFolder(Path(sys.argv[1])))
    if uploaded := upload(Run(parameters, Installation.of(os.environ))):
        print(json.dumps(asdict(uploaded)))
