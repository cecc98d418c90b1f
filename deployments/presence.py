"""Which flow runs have a living process on this machine, and by which name its worker takes them."""

import socket
from pathlib import Path
from uuid import UUID
from zlib import crc32

import psutil

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""What Prefect tells every process of a flow run; what a stage starts inherits it, too."""

DRIVERS = ("prefect", "tasks.guardian")
"""A process of these modules drives its run to an end; anything else with the mark is only part of it."""


def worker_name(report_dir: Path) -> str:
    """Return the name of the worker that serves a report folder on this machine."""
    return f"{socket.gethostname()}-{crc32(str(report_dir.resolve()).encode()):08x}"


def living(home: str) -> set[UUID]:
    """Return the flow runs that are driven by a process here whose PREFECT_HOME is `home`."""
    found = set()
    for process in psutil.process_iter():
        try:
            marked = process.environ() if _is_driver(process.cmdline()) else {}
        except (psutil.Error, OSError):
            continue
        if FLOW_RUN in marked and marked.get("PREFECT_HOME") == home:
            found.add(UUID(marked[FLOW_RUN]))
    return found


def _is_driver(argv: list[str]) -> bool:
    return any(word.partition(".")[0] in DRIVERS or word in DRIVERS for word in argv[1:3])
