"""What is set about TLS, client keys and the port of the operators."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from kvsync.access.keys import KeyName, KeyRing, checked_keys
from kvsync.pods import Host, Port
from kvsync.settings.base import SettingsGroup


def _text(key: object) -> object:
    """Refuse a key that is not text without showing it, as a message of pydantic's would."""
    if not isinstance(key, (str, SecretStr)):
        raise ValueError("must be text: put it in quotes")
    return key


ClientKey = Annotated[SecretStr, BeforeValidator(_text)]


class ServerTlsConfig(SettingsGroup):
    """The certificate that clients are shown, with those between it and its authority, and its key.

    Both are PEM files, read again when they change.
    """

    certificate: Path
    key: Path


class EngineTlsConfig(SettingsGroup):
    """How engines with `https` are known, and how the gateway shows itself to them.

    Certificates of engines may be signed by the authorities in the PEM file `ca`, besides those that the
    system trusts. They have to name the pod's host; where that is an IP address, `server_name` takes its
    place if it is given. `certificate` and `key` are the gateway's own, for engines that ask for one, read
    again when they change.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: Host | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are needed together")
        return self


class AdminConfig(SettingsGroup):
    """Where the operators' routes are instead of on the clients' port; by default on the same host."""

    host: Host | None = None
    port: Port


class AccessConfig(SettingsGroup):
    """Who may use the gateway.

    With keys, in `keys` (by name) or in `keys_file` (a YAML, JSON or TOML file of names and keys, read again
    when it changes), each request needs one, as `Authorization: Bearer KEY` or `x-api-key: KEY`; only
    `/healthz` and `/readyz` do not. A key has 16 characters at least. With `admin` the routes of operators
    (`/metrics`, `/status`, `/index/...`) are on a port of their own, which asks for no key.
    """

    tls: ServerTlsConfig | None = None
    keys: dict[KeyName, ClientKey] = Field(default_factory=dict)
    keys_file: Path | None = None
    admin: AdminConfig | None = None

    @property
    def wants_keys(self) -> bool:
        """Whether clients need one."""
        return bool(self.keys) or self.keys_file is not None

    def key_ring(self) -> KeyRing:
        """Return the keys, those of the file read now. Raises ConfigError."""
        given = {name: key.get_secret_value() for name, key in self.keys.items()}
        return KeyRing(given, self.keys_file)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        checked_keys({name: key.get_secret_value() for name, key in self.keys.items()})
        return self
