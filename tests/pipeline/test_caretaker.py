"""The caretaker of `serve` against a real Prefect server, with folders that it cannot make sense of."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Running

from deployments.service.caretaker import WORKER, Caretaker
from deployments.service.presence import worker_name
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    """A client of the server."""
    with SyncPrefectClient(server) as client:
        yield client


def lost_run(client: SyncPrefectClient, report_dir: Path) -> UUID:
    """Make a flow run that Prefect believes to be going on, though no process drives it."""
    flow = client.create_flow_from_name("pipeline")
    deployment = client.create_deployment(flow, f"caretaker-{report_dir.parent.name}")
    run = client.create_flow_run_from_deployment(deployment, labels={WORKER: worker_name(report_dir)})
    client.set_flow_run_state(run.id, Running(), force=True)
    return run.id


def test_a_folder_that_nobody_can_read_keeps_no_run_open(
    client: SyncPrefectClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said once, whatever is wrong with it, and the runs of other folders get their end."""
    report_dir, now = tmp_path / "reports", 0.0
    parameters = Parameters(stages=("unit",), report_dir=report_dir, run="20261120-030000-aaaa")
    folder = RunFolder(parameters.run_dir)
    (folder.path / "results").mkdir(parents=True)
    folder.parameters.write_text(parameters.model_dump_json())
    (folder.path / "results" / "unit.json").write_text("[" * 100_000)
    caretaker = Caretaker(
        report_dir=report_dir,
        home=str(tmp_path),
        installation=Installation(Settings()),
        patience_s=60,
        clock=lambda: now,
    )
    lost = lost_run(client, report_dir)
    for now in (0.0, 60.0, 120.0):  # noqa: B007 - the caretaker's clock
        caretaker.look(client)

    assert client.read_flow_run(lost).state_name == "Crashed"
    said = capsys.readouterr().out
    assert said.count(f"{parameters.run}: no end could be made of it: RecursionError") == 1
