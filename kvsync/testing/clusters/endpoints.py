"""What pods and gateway say of themselves over HTTP, as values."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from kvsync.testing.errors import ClusterError
from kvsync.testing.oracle.tables import Block, BlockTable, IndexDump, IndexEntry, Lookup, LookupPrompt
from kvsync.testing.results.history import Record

TIMEOUT_S = 10.0
"""Whole tables of a large cache are read within it."""

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Everything here is plain HTTP; httpx would load the system's certificates first, which takes 95 ms."""

Document = Mapping[str, Any]
"""A JSON object; its fields are looked at one by one."""


class PodAdmin:
    """The admin interface of one simulated pod."""

    def __init__(self, url: str) -> None:
        self._url = url

    def sequence(self) -> int:
        """Return the number of the last batch that it published; -1 before the first."""
        return int(fetch(f"{self._url}/sequence")["seq"])

    def epoch(self) -> int:
        """Return what tells its engine's incarnations apart: each has another one, and an empty cache."""
        return int(fetch(f"{self._url}/sequence")["epoch"])

    def wall(self) -> float:
        """Return what its engine takes for the time, in seconds since 1970."""
        return float(fetch(f"{self._url}/clock")["wall"])

    def table(self) -> BlockTable:
        """Return what it holds."""
        document = fetch(f"{self._url}/blocks")
        return BlockTable(
            pod=document["pod"],
            model=document["model"],
            epoch=document["epoch"],
            seq=document["seq"],
            block_size=document["block_size"],
            blocks={int(each["hash"], 16): _block(each) for each in document["blocks"]},
        )

    def published(self) -> list[Record]:
        """Return the records of what it published, in order; nothing if it keeps none."""
        records: list[Record] = fetch(f"{self._url}/published")["records"]
        return records

    def dropped(self) -> int:
        """Return how many messages its event channel has lost on purpose so far."""
        return int(fetch(f"{self._url}/faults")["counts"]["dropped"])

    def disturb(self, **faults: float) -> None:
        """Set the faults of its event channel; what is left out is off."""
        fetch(f"{self._url}/faults", "PUT", faults)

    def churn(self, prompts: int, seconds: float, *, blocks: int) -> int:
        """Let it announce prompts that were never sent, evenly over a time; returns how many."""
        wanted = {"prompts": prompts, "seconds": seconds, "blocks": blocks}
        return int(fetch(f"{self._url}/churn", "POST", wanted, timeout_s=seconds + TIMEOUT_S)["prompts"])

    def restart(self) -> None:
        """Restart its engine in place: cache lost, numbering from 0, nothing announced."""
        fetch(f"{self._url}/restart", "POST")

    def clear(self) -> None:
        """Empty its cache; it announces that."""
        fetch(f"{self._url}/clear", "POST")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """What a gateway says of one publisher."""

    pod: str
    rank: int
    state: str
    reason: str
    last: int | None

    def __str__(self) -> str:
        """Say how far it is."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.pod} {self.state}{why}, last batch {self.last}"


class GatewayView:
    """The status and the index of one gateway."""

    def __init__(self, url: str) -> None:
        self._url = url

    def routable(self) -> Mapping[str, str]:
        """Return the pods that it would send requests to, with the host of each."""
        pods = fetch(f"{self._url}/status")["pods"]
        return {pod["name"]: pod["host"] for pod in pods if pod["ready"] and pod["healthy"]}

    def sources(self) -> list[SourceView]:
        """Return how far it has followed each publisher."""
        pods = fetch(f"{self._url}/status")["pods"]
        return [
            SourceView(
                pod=pod["name"],
                rank=source["rank"],
                state=source["state"],
                reason=source["reason"],
                last=source["last"],
            )
            for pod in pods
            for source in pod["sources"]
        ]

    def problem(self) -> str:
        """Return what keeps it from hearing of pods; empty when nothing does."""
        return str(fetch(f"{self._url}/status")["discovery"]["problem"])

    def indexed(self) -> int:
        """Return how many blocks its index holds in all."""
        return int(fetch(f"{self._url}/status")["index"]["blocks"])

    def dumps(self) -> list[IndexDump]:
        """Return what its index holds of each publisher, by name: the order of discovery means nothing."""
        dumps = [
            IndexDump(
                pod=source["pod"],
                model=source["model"],
                state=source["state"],
                last=source["last"],
                blocks={
                    int(each["engine"], 16): IndexEntry(own=int(each["own"], 16), lora=each["lora"])
                    for each in source["blocks"]
                },
            )
            for source in fetch(f"{self._url}/index/dump")["sources"]
        ]
        return sorted(dumps, key=lambda dump: (dump.model, dump.pod))

    def lookup(self, prompt: LookupPrompt) -> Lookup:
        """Ask which pods hold how much of a prompt."""
        query: dict[str, object] = {"model": prompt.model, "token_ids": prompt.token_ids}
        if prompt.lora:
            query["lora"] = prompt.lora
        if prompt.salt is not None:
            query["cache_salt"] = prompt.salt
        return Lookup(prompt=prompt, matched=fetch(f"{self._url}/index/query", "POST", query)["matched"])


def fetch(url: str, method: str = "GET", body: object = None, timeout_s: float = TIMEOUT_S) -> Document:
    """Return the JSON object at `url`. Raises ClusterError when there is none."""
    try:
        response = httpx.request(
            method, url, json=body, timeout=timeout_s, verify=NO_CERTIFICATES, trust_env=False
        )
        response.raise_for_status()
        document = response.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise ClusterError(f"{method} {url}: {type(exc).__name__}: {exc}") from exc
    if not isinstance(document, dict):
        raise ClusterError(f"{method} {url}: no JSON object: {str(document)[:200]}")
    return document


def answers(url: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Say whether a GET of `url` succeeds."""
    try:
        return httpx.get(url, timeout=timeout_s, verify=NO_CERTIFICATES, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _block(document: Document) -> Block:
    parent = document["parent"]
    return Block(
        parent=None if parent is None else int(parent, 16),
        token_ids=tuple(document["token_ids"]),
        lora=document["lora"],
        salt=document["salt"],
        copies=document["copies"],
    )
