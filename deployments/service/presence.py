"""Which flow runs have a living process on this machine, and by which name its worker takes them."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID
from zlib import crc32

import psutil

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
"""What Prefect tells every process of a flow run; what a stage starts inherits it as well."""

DRIVERS = ("prefect", "tasks.guardian")
"""A process of these modules drives its run to an end; anything else with the mark is only part of it."""


def worker_name(report_dir: Path) -> str:
    """Return the name of the worker that serves a report folder on this machine."""
    return f"{socket.gethostname()}-{crc32(str(report_dir.resolve()).encode()):08x}"


def living(home: str) -> set[UUID]:
    """Return the flow runs that are driven by a process here whose PREFECT_HOME is `home`."""
    return {flow_run for flow_run, _ in _drivers(home, DRIVERS)}


def engines(home: str) -> list[psutil.Process]:
    """Return the processes in which these flows run."""
    return [process for _, process in _drivers(home, ("prefect",))]


def _drivers(home: str, packages: Sequence[str]) -> Iterator[tuple[UUID, psutil.Process]]:
    for process in psutil.process_iter():
        try:
            words = process.cmdline()[1:3]
            variables = process.environ() if any(_is_within(word, packages) for word in words) else {}
        except (psutil.Error, OSError):
            continue
        if FLOW_RUN in variables and variables.get("PREFECT_HOME") == home:
            yield UUID(variables[FLOW_RUN]), process


def _is_within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
