"""The reports of a folder in a browser: our pages work, and what tested code wrote is text."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright

from kvsync.ci.page.page import write_page
from kvsync.ci.report.report import Report
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Check, merge
from tests.pipeline.conftest import ROOT, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
USER, PASSWORD = "kvsync", "s3cret"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of the reports in a folder."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.service.reports", str(tmp_path), "127.0.0.1", str(port)],
        env={**os.environ, "PREFECT_API_AUTH_STRING": f"{USER}:{PASSWORD}"},
        cwd=ROOT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(url), what="the reports are served", timeout_s=30)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, verify=NO_CERTIFICATES).status_code == 401
    except httpx.TransportError:
        return False


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_our_pages_work_and_those_of_tests_do_not(tmp_path: Path, address: str) -> None:
    """The script of a report runs, in an origin of its own; a page among the evidence is shown as text."""
    at, run = datetime(2026, 11, 20, tzinfo=UTC), tmp_path / "run-1"
    report = Report(
        run="run-1",
        started_at=at,
        duration_s=1.0,
        command="",
        stages=[merge("unit", [Check(name="t.py::test_a", kind="passed")], started_at=at)],
        parameters={},
        versions={},
        machine={},
    )
    script = "<script>document.title = 'hostile'</script>"
    (run / "evidence").mkdir(parents=True)
    (run / "evidence" / "x.html").write_text(script)
    (run / "evidence" / "x.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{script}</svg>')
    write_page(report, run)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(http_credentials={"username": USER, "password": PASSWORD})
        page.goto(f"{address}/run-1/")
        page.locator("details.stage > summary").click()
        page.locator("table.passed-tests tr").first.wait_for()
        assert page.url == f"{address}/run-1/report.html"
        assert page.evaluate("window.origin") == "null"
        for name in ("x.html", "x.svg"):
            page.goto(f"{address}/run-1/evidence/{name}")
            assert script in page.inner_text("body")
            assert page.title() == ""
        browser.close()
