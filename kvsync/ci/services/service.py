"""What those who start a service are given, and how they say that it is not ready."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvsync.ci.settings import ServiceSettings
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.verdicts import NotRun

HOST = "127.0.0.1"
"""Where services listen: no other machine has any business with them."""


class NotReady(NotRun):
    """A service that did not become ready, with the end of its log."""

    def __init__(self, reason: str, tail: str = "") -> None:
        super().__init__(reason)
        self.tail = tail


@dataclass(frozen=True, slots=True)
class PodPlace:
    """Where the services of a stage are pods: in the namespace that the cluster of the run has for them."""

    machine: Machine
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the services of one attempt at a stage run. Each has a log of its name in the folder `logs`.

    `environ` is what programs of the repository get, None for all that this process has; `values` are what
    their words may name. When `stop` is set, nothing more is started. With `pods`, what an image is named for
    runs there.
    """

    repository: Path
    logs: Path
    ledger: Ledger
    stop: threading.Event
    settings: ServiceSettings = field(default_factory=ServiceSettings, repr=False)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    values: Mapping[str, str] = field(default_factory=dict)
    pods: PodPlace | None = None
