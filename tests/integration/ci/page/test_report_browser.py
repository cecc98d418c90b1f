"""The report page in a browser: what passed is shown when it is asked for."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from kvsync.ci.page.page import write_page
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, merge

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [1400, 400])
def test_passed_tests_are_loaded_on_demand(tmp_path: Path, width: int) -> None:
    """Its own script is allowed to show them, some hundred at a time, by name, as text, at any width."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    checks = [Check(name=f"t.py::test_{n}_{'x' * 500}", kind="passed") for n in range(700)]
    checks.append(Check(name="<img src=x onerror=alert(1)>", kind="skipped", detail="<b>why</b>"))
    report = Report(
        run="r",
        started_at=at,
        duration_s=1.0,
        command="",
        stages=[merge("unit", checks, started_at=at)],
        parameters={},
        versions={},
        machine={},
    )
    file, said = write_page(report, tmp_path), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        rows = page.locator("table.passed-tests tr")
        assert rows.count() == 0
        page.locator("details.stage > summary").click()
        rows.first.wait_for()
        assert rows.count() == 500
        page.locator("details.stage button").click()
        assert rows.count() == 701
        page.locator("details.stage input").fill("<IMG")
        assert rows.count() == 1
        assert rows.locator("summary").inner_text() == "<img src=x onerror=alert(1)>"
        assert page.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
    assert said == []
