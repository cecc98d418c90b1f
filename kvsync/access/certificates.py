"""TLS contexts from files, and the same contexts with what the files say later."""

import ssl
from pathlib import Path

from kvsync.access.settings import EngineTlsConfig, ServerTlsConfig
from kvsync.errors import ConfigError


class ServerCertificate:
    """What clients are shown; connections that begin after `read` see the new one."""

    def __init__(self, tls: ServerTlsConfig) -> None:
        """Read the files for the first time. Raises ConfigError."""
        self.files = (tls.certificate, tls.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.read()

    def read(self) -> None:
        """Take what the files hold now. Raises ConfigError, and then keeps what there was."""
        _load(self.context, "access.tls", *self.files)


class EngineTrust:
    """Whom the gateway takes for an engine, and how it shows itself."""

    def __init__(self, tls: EngineTlsConfig) -> None:
        """Read the files for the first time. Raises ConfigError."""
        self._own = (tls.certificate, tls.key) if tls.certificate and tls.key else None
        self.files = self._own or ()
        self.context = ssl.create_default_context()
        if tls.ca:
            _trust(self.context, tls.ca)
        self.read()

    def read(self) -> None:
        """Take what the gateway's own files hold now. Raises ConfigError, and then keeps what there was."""
        if self._own:
            _load(self.context, "upstream.tls", *self._own)


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as exc:  # which SSLError is, too
        raise ConfigError("upstream.tls", [f"ca: {ca} cannot be read as certificates: {exc}"]) from exc


def _load(context: ssl.SSLContext, where: str, certificate: Path, key: Path) -> None:
    """Try them apart first: a pair that does not fit would leave the context without any."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_none)
        context.load_cert_chain(certificate, key, password=_none)
    except (OSError, ValueError) as exc:  # OSError: SSLError, too
        raise ConfigError(
            where, [f"{certificate} and {key} are not a certificate and its key: {exc}"]
        ) from exc


def _none() -> str:
    """Answer instead of the terminal, where a key with a password would have us ask."""
    raise ValueError("the key has a password; give one without")
