"""Takes the pictures in the README: of the report and of the UI after a real run of the sample project.

    python docs/scripts/pictures.py     # needs a Chromium on the path; takes a few minutes

`kvsync-ci serve` and `kvsync-ci run` do what they do for everybody, in a folder that is removed afterwards.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, FloatRect, ViewportSize, sync_playwright

from kvsync.testing.processes.wait import wait_for

DOCS = Path(__file__).parents[1]
SAMPLE, PICTURES = DOCS / "sample", DOCS / "pictures"
STAGES = ("unit", "e2e", "chaos")
COMMAND = (sys.executable, "-c", "from deployments.cli import main; main()")
WINDOW: ViewportSize = {"width": 1200, "height": 900}


def main() -> None:
    """Run the sample on a server of its own, and take both pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no chromium and no google-chrome is on the path")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        words = ("run", *STAGES, "--repository", str(SAMPLE), "--report-dir", folder)
        subprocess.run([*COMMAND, *words], env=environment(url), check=True, timeout=900)
        (report,) = Path(folder).glob("*/report.html")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            photograph_report(browser, report)
            photograph_ui(browser, url.removesuffix("/api"))
            browser.close()


def free_port() -> str:
    """Return a port of loopback that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@contextmanager
def serving(reports: Path) -> Iterator[str]:
    """Run `kvsync-ci serve` on a free port until the block ends; gives the address of its API."""
    port, reports_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = environment("") | {"KVSYNC_CI_SERVE_PORT": port, "KVSYNC_CI_SERVE_REPORTS_PORT": reports_port}
    server = subprocess.Popen([*COMMAND, "serve", "--report-dir", str(reports)], env=env)
    try:
        wait_for(lambda: deployed(url), what="the server has the deployments", timeout_s=600, interval_s=1)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)


def environment(api_url: str) -> dict[str, str]:
    """Return the variables for a command; without a server's address it starts one."""
    return {**os.environ, "PYTHONPATH": str(DOCS.parent), "PREFECT_API_URL": api_url, "COLUMNS": "100"}


def deployed(url: str) -> bool:
    """Say whether the server answers and has deployments."""
    try:
        answer = httpx.post(f"{url}/deployments/filter", json={}, timeout=5)
    except httpx.TransportError:
        return False
    return answer.is_success and bool(answer.json())


def photograph_report(browser: Browser, report: Path) -> None:
    """Take the report from its verdict to its faults, small enough for a repository."""
    page = browser.new_page(viewport=WINDOW, device_scale_factor=0.8)
    page.goto(report.as_uri())
    last = page.locator("#faults").bounding_box()
    assert last is not None, "the report shows no faults"
    bottom = last["y"] + last["height"] + 20
    whole: FloatRect = {"x": 0, "y": 0, "width": WINDOW["width"], "height": bottom}
    page.screenshot(path=PICTURES / "report.png", full_page=True, clip=whole)


def photograph_ui(browser: Browser, web: str) -> None:
    """Take the page of the run, with its stages on their time line."""
    page = browser.new_page(viewport=WINDOW, device_scale_factor=0.8)
    page.goto(f"{web}/runs")
    page.locator("a[href*='flow-run/']").first.click()
    page.get_by_text("Artifacts", exact=True).first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / "ui.png")


if __name__ == "__main__":
    main()
