"""The receiver as a process: `python -m deployments.webhook [INBOX]`; settings come from the environment."""

import logging
import os
import sys
from pathlib import Path

from deployments.commands.console import complaining
from deployments.webhook.app import serve_webhook
from kvsync.ci.run.run import Installation

DEFAULT_INBOX = Path("reports/webhook.db")

if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # It logs each request with its URL, which may hold a password.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_INBOX
    complaining(lambda: serve_webhook(Installation.of(os.environ).settings, path))
