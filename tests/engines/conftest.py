"""Two real vLLM servers and a gateway, for all tests; they are started by the first and end with the last."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kvsync.testing import History, Ledger, Measurement, Measurements
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.traffic.sender import Answer, Sender
from tests.engines.servers import Installed, Server, make_adapter
from tests.engines.site import ADAPTER, ANSWER_S, Site

LINES = pytest.StashKey[list[str]]()
"""What was measured, for the end of the output."""


@pytest.fixture(scope="session")
def site(run_dir: Path, seed: int) -> Iterator[Site]:
    """Two servers with an adapter each, started side by side. NotRun where none is installed."""
    installed = Installed.of(os.environ)
    ledger, addresses = Ledger(run_dir / "ledger.jsonl"), LoopbackBlock(f"{seed} {run_dir}", own_hosts=False)
    logs = run_dir / "logs" / "engines"
    with scratch(ledger, run_dir / "engines") as folder, ExitStack() as ending:
        make_adapter(folder / "adapters" / ADAPTER, installed.model, seed)
        servers = [
            Server(
                name,
                installed,
                addresses.next(),
                folder=folder,
                logs=logs,
                ledger=ledger,
                loras=folder / "adapters",
            )
            for name in "ab"
        ]
        for server in servers:
            ending.callback(server.kill)
            server.start()
        for server in servers:
            server.await_ready()
        site = Site(
            servers, addresses.next(), folder=folder, logs=run_dir / "logs" / "engines", ledger=ledger
        )
        ending.callback(site.stop_gateway)
        site.start_gateway()
        yield site


@pytest.fixture
def send(site: Site, history: History) -> Iterator[Callable[..., list[Answer]]]:
    """Send requests to the gateway, `workers` at a time."""
    with Sender(site.url, history, timeout_s=ANSWER_S) as sender:
        yield sender.send_all


@pytest.fixture
def note(pytestconfig: pytest.Config, measurements: Measurements) -> Callable[[Measurement], None]:
    """Keep a measurement, and show it at the end of the output as well."""

    def keep(one: Measurement) -> None:
        measurements.add(one)
        said = ", ".join(f"{name} {value}" for name, value in one.parameters.items())
        line = f"{one.name:40} {one.metric:28} {one.value:8.4g} {one.unit:8} of {one.samples:4}  {said}"
        pytestconfig.stash.setdefault(LINES, []).append(line)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured as a table."""
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)
