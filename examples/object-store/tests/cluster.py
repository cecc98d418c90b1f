"""Servers of a test's own, which it may kill: processes, on a database of their own."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from chunk_client import ChunkClient
from client import FileClient, Tables, eventually, gateway_client

HOST = "127.0.0.1"


class Program:
    """A running server; what it prints goes to `log`."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            argv = [sys.executable, "-m", "objectstore", *words]
            self.process = subprocess.Popen(argv, stdout=file, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it answer nothing, as a network that is gone does."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            self.process.wait(timeout=30)

    def answers(self, port: int) -> bool:
        """Say whether it listens on a port. Raises AssertionError where it has ended."""
        assert self.process.poll() is None, f"it has ended: {self.tail()}"
        try:
            socket.create_connection((HOST, port), timeout=5).close()
        except OSError:
            return False
        return True

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-2000:]


class Cluster:
    """Gateways and storage servers with one database; all are gone when it is left."""

    def __init__(self, database: str, folder: Path) -> None:
        self.tables = Tables(database)
        self._folder = folder
        self._stack = ExitStack()
        self._ports: dict[str, int] = {}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def address(self, server: str) -> str:
        """Return the address of a storage server, which stays the same when it is started again."""
        return f"{HOST}:{self._ports.setdefault(server, free_port())}"

    def storage(self, server: str) -> Program:
        """Start a storage server, with what chunks it had."""
        port = self.address(server).rsplit(":", 1)[1]
        return self.start(server, ["storage", "--port", port, "--folder", str(self.chunks(server))])

    def chunks(self, server: str) -> Path:
        """Return the folder of a storage server."""
        return self._folder / server

    def chunk_client(self, server: str) -> ChunkClient:
        """Return a client of a storage server that is ready."""
        client = ChunkClient(self.address(server))
        self._stack.callback(client.close)
        client.health()
        return client

    def gateway(self, *words: str, servers: list[str]) -> tuple[Program, FileClient]:
        """Start a gateway for these storage servers, and wait until all of them take chunks."""
        port = free_port()
        named = [word for each in servers for word in ("--server", f"{each}={self.address(each)}")]
        quick = ["--heartbeat-s", "0.2", "--expiry-s", "1", "--cleaning-s", "0.2", "--grace-s", "0.5"]
        words_of_it = ["gateway", "--port", str(port), "--database", self.tables.url, *quick, *named, *words]
        program = self.start(f"gateway-{port}", words_of_it)
        client = self._stack.enter_context(gateway_client(f"http://{HOST}:{port}"))

        eventually(lambda: program.answers(port), "the gateway answers", 30)
        eventually(lambda: set(client.ring()) >= set(servers), f"{servers} take chunks", 30)
        return program, client

    def start(self, name: str, words: list[str]) -> Program:
        """Start any server of the project."""
        program = Program(words, self._folder / f"{name}.log")
        self._stack.callback(program.stop)
        return program


@contextmanager
def cluster(server: str, folder: Path) -> Iterator[Cluster]:
    """Give a cluster with a new database on the PostgreSQL server of this address."""
    name = f"cluster_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            with Cluster(urlunsplit(urlsplit(server)._replace(path=f"/{name}")), folder) as found:
                yield found
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server((HOST, 0)) as held:
        port: int = held.getsockname()[1]
        return port
