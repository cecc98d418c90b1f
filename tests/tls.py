"""Servers with TLS on the loopback, and the certificates that they show."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def self_signed(folder: Path, name: str = "certificate.pem") -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 for a day; returns its file, and that of its key. Needs openssl."""
    certificate, key = folder / name, folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*words, *files], check=True, capture_output=True, timeout=30)
    return certificate, key


@contextmanager
def serving_tls(handler: type[BaseHTTPRequestHandler], folder: Path) -> Iterator[str]:
    """Answer with a handler until left, with a certificate that is made in a folder; gives the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
