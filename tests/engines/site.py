"""The servers and the gateway in front of them, as the tests see them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kvsync.testing import ClusterError, GatewayView, Ledger, wait_for
from kvsync.testing.clusters.endpoints import TIMEOUT_S, fetch
from kvsync.testing.clusters.local.addresses import Address
from kvsync.testing.processes.program import Program
from tests.engines.servers import BLOCK_SIZE, Server, gateway

ADAPTER = "poet"

ANSWER_S = 120.0
"""For one answer: sixteen prompts at once on a processor that others use, too."""

SETTLED_S = 30.0
"""How long the gateway may need to be exact after a change, on a busy machine."""


class Site:
    """The servers and the gateway in front of them."""

    def __init__(
        self, servers: Sequence[Server], at: Address, *, folder: Path, logs: Path, ledger: Ledger
    ) -> None:
        self.servers = {server.name: server for server in servers}
        self.url = f"http://{at.host}:{at.port}"
        self.view = GatewayView(self.url)
        self._config, self._log, self._ledger = folder / "gateway.json", logs / "gateway.log", ledger
        pods = [asdict(server.pod) for server in servers]
        settings = {"host": at.host, "port": at.port, "pods": pods, "block_size": BLOCK_SIZE}
        self._config.write_text(json.dumps(settings))
        self._gateway: Program | None = None

    def start_gateway(self) -> None:
        """Start a gateway that knows nothing, in place of the one there is, and wait until it is exact."""
        self.stop_gateway()
        self._gateway = gateway(self._config, self._log, self._ledger)
        self.await_exact()

    def stop_gateway(self) -> None:
        """End the gateway."""
        if self._gateway is not None:
            self._gateway.stop()

    def await_exact(self) -> None:
        """Wait until the gateway uses every server and every source is exact."""
        wait_for(self._is_exact, what="every source is exact", timeout_s=SETTLED_S, last_seen=self._said)

    def compare_tables(self) -> dict[str, int]:
        """At rest, compare the index with every engine's own table; returns how many blocks each holds."""
        found = {}
        for name, server in self.servers.items():
            last, held = server.table()
            wait_for(
                lambda name=name, last=last: self._dump(name)["last"] == (last if last >= 0 else None),  # type: ignore[misc]
                what=f"the gateway has batch {last} of {name}",
                timeout_s=SETTLED_S,
                last_seen=self._said,
            )
            known = {block["engine"] for block in self._dump(name)["blocks"]}
            assert known == held, f"{name}: {len(known - held)} blocks too many, {len(held - known)} lost"
            found[name] = len(held)
        return found

    def removals(self) -> float:
        """Return how many removals of blocks the gateway has applied since it began."""
        text = httpx.get(f"{self.url}/metrics", timeout=TIMEOUT_S, trust_env=False).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "kvsync_events_total" and sample.labels["kind"] == "removed"
        )

    def predictions(self) -> dict[str, Any]:
        """Return what the gateway says of its own predictions, server by server."""
        return {pod["name"]: pod["predictions"] for pod in fetch(f"{self.url}/status")["pods"]}

    def _dump(self, name: str) -> Any:
        return fetch(f"{self.url}/index/dump?pod={name}")["sources"][0]

    def _said(self) -> object:
        return [str(source) for source in self.view.sources()]

    def _is_exact(self) -> bool:
        assert self._gateway is not None
        self._gateway.check()
        with suppress(ClusterError):  # it is still starting
            ready = self.view.routable().keys() == self.servers.keys()
            return ready and all(source.state == "exact" for source in self.view.sources())
        return False
