"""A client of the gateway, and what metadata says behind its back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import httpx
import psycopg
from content import Content, sha256

from objectstore.names import chunk_of

TIMEOUT = httpx.Timeout(60)

CLIENTS = 100
"""So many connections at once."""


class FileClient:
    """Files of one gateway. Every method raises httpx.HTTPStatusError for an answer that is an error."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT, limits=limits, trust_env=False)

    def upload(
        self, name: str, content: Content, content_type: str = "application/x-noise"
    ) -> dict[str, Any]:
        """Store a file; return its description."""
        headers = {"content-type": content_type, "content-length": str(content.size)}
        answer = self.http.put(f"/files/{name}", content=iter(content), headers=headers)
        described: dict[str, Any] = answer.raise_for_status().json()
        return described

    def download(self, name: str) -> tuple[int, str]:
        """Return the size and SHA-256 of what is received of a file."""
        with self.http.stream("GET", f"/files/{name}") as answer:
            answer.raise_for_status()
            return sha256(answer.iter_raw(1024 * 1024))

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the description of a file."""
        described: dict[str, Any] = self.http.get(f"/files/{name}/metadata").raise_for_status().json()
        return described

    def delete(self, name: str) -> None:
        """Remove a file."""
        self.http.delete(f"/files/{name}").raise_for_status()

    def names(self, **query: str | int) -> list[str]:
        """Return the names of all files, page by page."""
        names, after = [], ""
        while True:
            page = self.http.get("/files", params={**query, "after": after}).raise_for_status().json()
            names += [each["name"] for each in page["files"]]
            if page["next"] is None:
                return names
            after = page["next"]

    def servers(self) -> dict[str, dict[str, Any]]:
        """Return the storage servers by their ids."""
        answer = self.http.get("/servers").raise_for_status().json()
        return {each["id"]: each for each in answer["servers"]}

    def ring(self) -> list[str]:
        """Return the servers that take chunks."""
        taking: list[str] = self.http.get("/health").json()["servers"]
        return taking

    def status(self, method: str, path: str, **given: Any) -> int:
        """Return the status of an answer, whatever it is."""
        return self.http.request(method, path, **given).status_code


class Tables:
    """What is in the database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def chunks(self, name: str) -> dict[str, list[str]]:
        """Return the chunks of all objects of a name, with the servers that they are on."""
        query = (
            "SELECT object_id, number, servers FROM chunk JOIN object ON object.id = object_id "
            "WHERE name = %s"
        )
        return {chunk_of(row[0], row[1]): row[2] for row in self.rows(query, name)}

    def states(self, name: str) -> list[str]:
        """Return the states of all objects of a name."""
        return [row[0] for row in self.rows("SELECT state FROM object WHERE name = %s ORDER BY state", name)]


def eventually(is_so: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until something is so. Raises AssertionError, naming it."""
    end = monotonic() + timeout_s
    while not is_so():
        assert monotonic() < end, f"not within {timeout_s:g} s: {what}"
        sleep(0.05)


@contextmanager
def gateway_client(url: str) -> Iterator[FileClient]:
    """Give a client until left."""
    client = FileClient(url)
    with client.http:
        yield client
