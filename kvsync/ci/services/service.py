"""What a service is to those who use it, and what those who start one are given."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kvsync.ci.settings import ServiceSettings
from kvsync.testing.clusters.local.fault_proxy import Listener
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.verdicts import NotRun

if TYPE_CHECKING:
    from kvsync.ci.services.server import Server

HOST = "127.0.0.1"
"""Where services listen: no other machine has any business with them."""


class NotReady(NotRun):
    """A service that did not become ready, with the end of its log."""

    def __init__(self, reason: str, tail: str = "") -> None:
        super().__init__(reason)
        self.tail = tail


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service that is ready. `fields` are what is said of it (kvsync.ci.project.services).

    `source` names what it is and where it came from; `server` is its process, None where it is the owner's.
    `hello` makes a request of about so many bytes, to which anything that speaks its protocol answers; b"" is
    a connection of which nothing is asked. `listener`: through which it is reached, None for directly.
    """

    fields: Mapping[str, str] = field(repr=False)
    source: str
    server: "Server | None" = None
    hello: Callable[[int], bytes] = lambda _: b""
    listener: Listener | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port where it is reached."""
        return self.fields["host"], int(self.fields["port"])

    def why_ended(self) -> str:
        """Say, once it is over, why it ended before it was to; "" if it did not."""
        return self.server.why_ended() if self.server else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the services of one attempt at a stage run. Each has a log of its name in the folder `logs`.

    `environ` is what programs of the repository get, None for all that this process has; `values` are what
    their words may name. When `stop` is set, nothing more is started.
    """

    repository: Path
    logs: Path
    ledger: Ledger
    stop: threading.Event
    settings: ServiceSettings = field(default_factory=ServiceSettings, repr=False)
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    values: Mapping[str, str] = field(default_factory=dict)
