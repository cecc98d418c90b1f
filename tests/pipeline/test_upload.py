"""The task that stores a report: tried again where that may help, and never the reason that a run fails."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvsync.ci.handover.storing import ends_all

pytestmark = pytest.mark.timeout(120)

FLOWS = """
import json, os, sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from prefect import flow
from prefect.logging import get_run_logger
from flows.pipeline import run_pipeline
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

def asked(reports: str) -> Parameters:
    return Parameters(stages=("unit",), report_dir=Path(reports), run="run-1")

@flow(name="upload")
def only_upload(reports: str, variables: dict[str, str]) -> str:
    handover = Handover(run=Run(asked(reports), Installation.of({**os.environ, **variables})), report=REPORT)
    return str(in_task(replace(UPLOAD, retry_delay_s=0), handover, get_run_logger()).uploaded)

for reports, variables in json.loads(sys.argv[1]):
    print("ended with", only_upload(reports, variables), flush=True)
os.environ["KVSYNC_CI_STORE_URL"] = "gs://bucket"
print("ended with", run_pipeline(asked(sys.argv[2]), return_state=True).message)
"""
"""Uploads, and a run with a wrong configuration, in one process: importing Prefect takes longer than all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """The folder in which everything lies, and what was printed in each case."""

    folder: Path
    stored: str
    away: str
    unwritable: str
    misconfigured: str


@pytest.fixture(scope="module")
def uploads(server: str, tmp_path_factory: pytest.TempPathFactory) -> Uploads:
    """What became of the same run, uploaded to several stores."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "file").write_text("no folder")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listened on: every connection is refused
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cases = {
            "stored": {"KVSYNC_CI_STORE_URL": str(folder / "store")},
            "away": {
                "KVSYNC_CI_STORE_URL": "s3://some-bucket",
                "KVSYNC_CI_STORE_ENDPOINT_URL": address,
            },
            "unwritable": {"KVSYNC_CI_STORE_URL": str(folder / "file")},
        }
        for name in cases:
            (folder / name / "run-1").mkdir(parents=True)
            (folder / name / "run-1" / "report.html").write_text("hello")
        given = json.dumps([(str(folder / name), variables) for name, variables in cases.items()])
        done = subprocess.run(
            [sys.executable, "-c", FLOWS, given, str(folder / "misconfigured")],
            env={
                **os.environ,
                "PREFECT_API_URL": server,
                "AWS_ACCESS_KEY_ID": "planted-id",
                "AWS_SECRET_ACCESS_KEY": "planted-secret",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=100,
            check=True,
        )
    stored, away, unwritable, misconfigured = re.findall(r"(?s).*?ended with[^\n]*", done.stdout)
    return Uploads(
        folder=folder, stored=stored, away=away, unwritable=unwritable, misconfigured=misconfigured
    )


def test_a_report_is_stored(uploads: Uploads) -> None:
    """The value says where it is."""
    page = uploads.folder / "store" / "kvsync" / "run-1" / "report.html"
    assert f"uploaded 1 files, 5 bytes: {page.as_uri()}" in uploads.stored
    assert page.read_text() == "hello"


def test_a_store_that_is_away_is_tried_again_and_then_a_warning(uploads: Uploads) -> None:
    """Three attempts, a sentence with the mend, no secret, and the flow goes on."""
    assert [f"Retry {number}/2" in uploads.away for number in (1, 2, 3)] == [True, True, False]
    assert f"retry: kvsync-ci upload run-1 --report-dir {uploads.folder / 'away'}" in uploads.away
    assert "check store.endpoint_url and the network" in uploads.away
    assert "planted" not in uploads.away
    assert "ended with None" in uploads.away


def test_a_store_that_only_a_person_can_mend_is_a_warning_at_once(uploads: Uploads) -> None:
    """What cannot pass by itself is not tried again."""
    assert "not uploaded: cannot " in uploads.unwritable
    assert "free the disk or correct its rights" in uploads.unwritable
    assert "Retry" not in uploads.unwritable
    assert "ended with None" in uploads.unwritable


def test_a_run_does_not_begin_with_a_wrong_configuration(uploads: Uploads) -> None:
    """It ends at once, its state says what is wrong, and no half-made folder waits for anyone."""
    problem = "ConfigError: configuration of the pipeline: 1 problem"
    assert problem in uploads.misconfigured.partition("ended with")[2]
    assert not (uploads.folder / "misconfigured").exists()


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
