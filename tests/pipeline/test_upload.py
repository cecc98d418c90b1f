"""The task that stores a report: tried again where that may help, and never the reason that a run fails."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kvsync.ci.handover.storing import ends_all

pytestmark = pytest.mark.timeout(120)

FLOW = """
import os, sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from prefect import flow
from prefect.logging import get_run_logger
from kvsync.ci.handover.handover import Handover
from kvsync.ci.handover.roads import UPLOAD
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from tasks.handover import in_task

REPORT = Report(
    run="run-1", started_at=datetime.now(UTC), duration_s=1.0, command="", stages=(), parameters={},
    versions={}, machine={},
)

@flow(name="upload")
def only_upload(report_dir: str) -> str:
    parameters = Parameters(stages=("unit",), report_dir=Path(report_dir), run="run-1")
    handover = Handover(run=Run(parameters, Installation.of(os.environ)), report=REPORT)
    return str(in_task(replace(UPLOAD, retry_delay_s=0), handover, get_run_logger()).uploaded)

print("ended with", only_upload(sys.argv[1]))
"""


def uploaded(server: str, reports: Path, **variables: str) -> str:
    """Upload a run within a flow; returns what the process printed."""
    (reports / "run-1").mkdir(parents=True)
    (reports / "run-1" / "report.html").write_text("hello")
    done = subprocess.run(
        [sys.executable, "-c", FLOW, str(reports)],
        env={
            **os.environ,
            "PREFECT_API_URL": server,
            "AWS_ACCESS_KEY_ID": "planted-id",
            "AWS_SECRET_ACCESS_KEY": "planted-secret",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


def test_a_report_is_stored(server: str, tmp_path: Path) -> None:
    """The value says where it is."""
    printed = uploaded(server, tmp_path / "reports", KVSYNC_CI_STORE_URL=str(tmp_path / "store"))

    page = tmp_path / "store" / "kvsync" / "run-1" / "report.html"
    assert f"uploaded 1 files, 5 bytes: {page.as_uri()}" in printed
    assert page.read_text() == "hello"


def test_a_store_that_is_away_is_tried_again_and_then_a_warning(server: str, tmp_path: Path) -> None:
    """Three attempts, a sentence with the mend, no secret, and the flow goes on."""
    reports = tmp_path / "reports"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listened on: every connection is refused
        printed = uploaded(
            server,
            reports,
            KVSYNC_CI_STORE_URL="s3://some-bucket",
            KVSYNC_CI_STORE_ENDPOINT_URL=f"http://127.0.0.1:{closed.getsockname()[1]}",
        )

    assert [f"Retry {number}/2" in printed for number in (1, 2, 3)] == [True, True, False]
    assert f"retry: kvsync-ci upload run-1 --report-dir {reports}" in printed
    assert "check store.endpoint_url and the network" in printed
    assert "planted" not in printed
    assert "ended with None" in printed


SOON = """
import logging, os, sys
from pathlib import Path
from kvsync.ci.handover.storing import stored_soon
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run

logging.basicConfig()
parameters = Parameters(stages=("unit",), report_dir=Path(sys.argv[1]), run="run-1")
run = Run(parameters, Installation.of(os.environ))
parameters.keep_in(run.folder)
print("ended with", stored_soon(run, logging.getLogger(), within_s=float(sys.argv[2])))
"""


@pytest.mark.parametrize(
    ("within_s", "said"),
    [("60", "ended with Uploaded(files=2, "), ("0.01", "not uploaded in time")],
    ids=["in time", "too late"],
)
def test_an_interrupted_run_has_little_time_to_store_its_report(
    tmp_path: Path, within_s: str, said: str
) -> None:
    """It stores it at once if it can; what hangs is ended, and does not keep it."""
    (tmp_path / "reports" / "run-1").mkdir(parents=True)
    (tmp_path / "reports" / "run-1" / "report.html").write_text("hello")
    done = subprocess.run(
        [sys.executable, "-c", SOON, str(tmp_path / "reports"), within_s],
        env={**os.environ, "KVSYNC_CI_STORE_URL": str(tmp_path / "store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=True,
    )

    assert said in done.stdout
    assert (tmp_path / "store" / "kvsync" / "run-1" / "manifest.json").exists() is (within_s == "60")


@pytest.mark.parametrize(
    ("init", "alone"),
    [
        ("tini -- prefect flow-run execute", True),
        ("python /usr/local/bin/prefect flow-run execute", True),
        ("tini -- kvsync-ci serve --report-dir /data/reports", False),
        ("/sbin/init", False),
    ],
)
def test_only_in_a_container_of_its_own_it_has_to(init: str, alone: bool) -> None:
    """Elsewhere its guardian outlives it, and has more time."""
    assert ends_all(init.split()) is alone


def test_a_store_that_only_a_person_can_mend_is_a_warning_at_once(server: str, tmp_path: Path) -> None:
    """What cannot pass by itself is not tried again."""
    (tmp_path / "store").write_text("no folder")
    printed = uploaded(server, tmp_path / "reports", KVSYNC_CI_STORE_URL=str(tmp_path / "store"))

    assert "not uploaded: cannot " in printed
    assert "free the disk or correct its rights" in printed
    assert "Retry" not in printed
    assert "ended with None" in printed


BEGINNING = """
import sys
from pathlib import Path
from flows.pipeline import run_pipeline
from kvsync.ci.run.parameters import Parameters

parameters = Parameters(stages=("unit",), report_dir=Path(sys.argv[1]), run="run-1")
print("ended with", run_pipeline(parameters, return_state=True).message)
"""


def test_a_run_does_not_begin_with_a_wrong_configuration(server: str, tmp_path: Path) -> None:
    """It ends at once, its state says what is wrong, and no half-made folder waits for anyone."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING, str(tmp_path / "reports")],
        env={**os.environ, "PREFECT_API_URL": server, "KVSYNC_CI_STORE_URL": "gs://bucket"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=100,
        check=True,
    )

    assert "ConfigError: configuration of the pipeline: 1 problem" in done.stdout.partition("ended with")[2]
    assert not (tmp_path / "reports").exists()
