"""Which flow runs have a living process on this machine, and by which name its worker takes them."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID
from zlib import crc32

import psutil

from kvsync.testing.processes.living import lives

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""What Prefect tells every process of a flow run; what a stage starts inherits it as well."""

PREFECT = "prefect"
"""A process of this module drives its run; anything else with the mark is only part of it."""

GUARDIAN = "tasks.guardian"
"""So does one of this. Its words say of which run: it cannot be looked into, and a flow neither."""

ENGINE = "prefect.engine"
"""The flow of a worker. Until it has a guardian, its parent says whose it is."""


def worker_name(report_dir: Path) -> str:
    """Return the name of the worker that serves a report folder on this machine."""
    return f"{socket.gethostname()}-{crc32(str(report_dir.resolve()).encode()):08x}"


def living(home: str) -> set[UUID]:
    """Return the flow runs that are driven by a process here whose PREFECT_HOME is `home`."""
    return {flow_run for flow_run, _ in _flows(home)}


def engines(home: str) -> list[psutil.Process]:
    """Return the processes in which these flows run, also those that have just been started."""
    found = {engine.pid: engine for _, engine in _flows(home) if engine}
    return [*(found | {engine.pid: engine for engine in _of_worker(home)}).values()]


def _of_worker(home: str) -> Iterator[psutil.Process]:
    mark = f"--name={worker_name(Path(home).parent)}"
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            parent = process.parent() if ENGINE in process.cmdline()[1:4] else None
            if parent and mark in parent.cmdline():
                yield process


def _flows(home: str) -> Iterator[tuple[UUID, psutil.Process | None]]:
    """Yield flow runs, each with its process; one that only has its guardian left has none."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()[1:]
            match words:
                case [_, _, module, _, flow_run, pid, born, where] if (module, where) == (GUARDIAN, home):
                    alive = lives(int(pid), float(born))
                    yield UUID(flow_run), psutil.Process(int(pid)) if alive else None
                case _ if any(map(_is_of_prefect, words[:3])):
                    variables = process.environ()
                    if FLOW_RUN in variables and variables.get("PREFECT_HOME") == home:
                        yield UUID(variables[FLOW_RUN]), process
        except (psutil.Error, OSError, ValueError):
            continue


def _is_of_prefect(module: str) -> bool:
    return module == PREFECT or module.startswith(f"{PREFECT}.")
