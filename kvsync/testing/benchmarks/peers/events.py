"""Events over ZeroMQ, from a publisher in a process of its own into a gateway or an indexer.

They are sent as fast as the publisher can, and fewer than it keeps for a slow reader, so that none is lost.
What is counted begins with the first event and ends when the last one is found in the index: then all are,
since they are applied in their order.
"""

import time
from dataclasses import dataclass

from kvsync.testing.benchmarks.flood import EventLoad, Flood
from kvsync.testing.benchmarks.peers.gateways import Contender, EngineAddress, GatewayBench
from kvsync.testing.benchmarks.peers.turns import Figures
from kvsync.testing.processes.wait import wait_for

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Events that each store a chain of new blocks of one engine."""

    bench: GatewayBench
    load: EventLoad

    def play(self, contender: Contender) -> Figures:
        """Count what an event costs. Raises WaitTimeout if the last is not known in time, ProgramEnded."""
        holds = contender.holds
        assert holds, f"{contender.name} takes no events"
        last = self.load.stored()[-1].token_ids
        log = self.bench.folder / "flood.log"
        log.unlink(missing_ok=True)  # it would say again what an earlier one said
        with self.bench.engines(1) as (engine,), Flood(self.load, log=log, ledger=self.bench.ledger) as flood:
            live, replay = (int(endpoint.rpartition(":")[2]) for endpoint in flood.endpoints[0])
            with self.bench.gateway(contender, [EngineAddress(engine.port, live, replay)]) as gateway:
                assert not holds(gateway, last), f"{contender.name} knows of an event that was not sent"
                before, began = gateway.cpu_s(), time.monotonic()
                flood.begin()
                flood.sent(TIMEOUT_S)
                wait_for(lambda: holds(gateway, last), what="the last event is applied", timeout_s=TIMEOUT_S)
                used, took = gateway.cpu_s() - before, time.monotonic() - began
        return {"cpu": used / self.load.events * 1e6, "wall": took / self.load.events * 1e6}
