"""What a service is to those who use it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kvsync.ci.services.server import ServerProcess
from kvsync.testing.clusters.local.fault_proxy import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """A service that is ready. `fields` are what is said of it (kvsync.ci.project.services).

    `source` names what it is and where it came from; `server` is its process, None where it is the owner's.
    `hello` makes a request of about so many bytes, to which anything that speaks its protocol answers; b"" is
    a connection of which nothing is asked. `listener`: through which it is reached, None for directly.
    """

    fields: Mapping[str, str] = field(repr=False)
    source: str
    server: ServerProcess | None = None
    hello: Callable[[int], bytes] = lambda _: b""
    listener: Listener | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port where it is reached."""
        return self.fields["host"], int(self.fields["port"])

    def why_ended(self) -> str:
        """Say, once it is over, why it ended before it was to; "" if it did not."""
        return self.server.why_ended() if self.server else ""
