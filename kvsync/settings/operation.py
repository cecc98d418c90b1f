"""Settings of how the gateway is run: what outlives it, and when it is ready."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, SecretStr, ValidationInfo, field_validator

from kvsync.settings.base import SettingsGroup

SOCKET_BYTES = 101
"""Of the address of a local socket: the kernel takes 107, macOS' 103."""

TEXT_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""A line of the log for people."""


class SnapshotsConfig(SettingsGroup):
    """What is known of engines' caches outlives the gateway. Times are seconds.

    With `folder`, each source of which events came is written there every `interval_s` and when the gateway
    ends, and read at the start; a folder is of one gateway. With `take_from`, the URL of a running gateway
    (or of their Service), a new one asks it for what it knows, for `take_s` at most, with `take_key` if that
    wants one. Either counts for a
    source once its publisher repeats a batch that is remembered; what is older than `max_age_s` is thrown
    away.
    """

    folder: Path | None = None
    interval_s: PositiveFloat = 10.0
    max_age_s: PositiveFloat = 86_400.0
    take_from: Annotated[str, Field(pattern=r"^https?://[^\s/]\S*$")] | None = None
    take_s: PositiveFloat = 5.0
    take_key: SecretStr | None = None

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that let this gateway in at another one."""
        return {"authorization": f"Bearer {self.take_key.get_secret_value()}"} if self.take_key else {}


class MetricsConfig(SettingsGroup):
    """What `/metrics` shows: with `aibrix_names`, what AIBrix measures too under its names as well."""

    aibrix_names: bool = True


class LoggingConfig(SettingsGroup):
    """What the gateway writes on standard error: lines as `text` for people or as `json` for collectors, and
    with `access` one for each request that is passed on or refused."""

    format: Literal["text", "json"] = "text"
    access: bool = True


class TracingConfig(SettingsGroup):
    """Where OpenTelemetry spans of requests go: a collector that takes OTLP over HTTP.

    `endpoint` is its address (`http://collector:4318`; `/v1/traces` is added), and without one there are no
    spans. Of requests that come without a trace the share `share` is recorded; for others the caller says.
    Needs the extra `tracing`.
    """

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]\S*$")] | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0


class ReadinessConfig(SettingsGroup):
    """Until when `/readyz` says that a new gateway is not ready yet, besides having no pod that serves.

    It waits until of the share `known_share` of sources all is known that can be (exact or degraded), but no
    longer than `within_s` seconds after the start. With 0 it does not wait.
    """

    known_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    within_s: NonNegativeFloat = 30.0


class IndexerConfig(SettingsGroup):
    """Where events are followed and prompts are looked up: `in-process`; in a `process` of its own, which the
    gateway starts, starts again and ends; or in one that gateways of one machine have in common (`shared`,
    started with `kvsync indexer`).

    `socket` is where that answers: a path, or `@` and a name, which on Linux needs no file; `shared` needs
    it. A request waits for its answer for `timeout_s` at most, and is then routed by load. With `port`, the
    indexer answers over HTTP on `host`, too.
    """

    mode: Literal["in-process", "process", "shared"] = "in-process"
    socket: str | None = Field(default=None, validate_default=True)
    timeout_s: PositiveFloat = 0.5
    host: Annotated[str, Field(pattern=r"^[^\s/\[\]]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] | None = None

    @field_validator("socket")
    @classmethod
    def _shared_needs_one(cls, socket: str | None, info: ValidationInfo) -> str | None:
        if socket is not None and not (
            socket.startswith(("@", "/")) and 1 < len(socket.encode()) <= SOCKET_BYTES
        ):
            said = f"a path from / on, or @ and a name is needed, of {SOCKET_BYTES} bytes at most"
            raise ValueError(f"{said}, not {socket!r}")
        if socket is None and info.data.get("mode") == "shared":
            raise ValueError("is needed by indexer.mode 'shared': where `kvsync indexer` listens")
        return socket
