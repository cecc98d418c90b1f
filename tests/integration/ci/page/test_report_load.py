"""How the report page shows a load."""

import json
from pathlib import Path

from kvsync.ci.page.page import write_page
from kvsync.testing.load.http.summary import LoadRow, LoadSummary
from kvsync.testing.results.outcome import Check
from tests.integration.ci.page.test_report_html import HOSTILE, Page, report, stage


def test_a_load_is_shown_with_its_thresholds_and_numbers(tmp_path: Path) -> None:
    """As text, whatever requests and errors are called; a summary that is torn is left out."""
    row = LoadRow(
        phase="hold",
        request=HOSTILE,
        offered_per_s=10.0,
        rate_per_s=9.5,
        count=100,
        failed=5,
        late=0,
        latencies_s=[0.01, 0.02, 0.03, None, None],
        slowest_s=None,
        errors={HOSTILE: 5},
        broken=(),
    )
    checks = [
        {
            "name": "errors < 5 %",
            "kind": "failed",
            "detail": HOSTILE,
            "measured": "5.00 %",
            "requests": "100",
        },
        {"name": "climb", "kind": "passed", "detail": "held 9/s"},
    ]
    curves = {HOSTILE: [(0.0, 0.001), (0.5, 0.01)]}
    summary = LoadSummary(stage="load", checks=checks, rows=[row], curves=curves)
    for name, text in (("load", json.dumps(summary.to_json())), ("torn", "{")):
        (tmp_path / "evidence" / name).mkdir(parents=True)
        (tmp_path / "evidence" / name / "load.json").write_text(text)

    page = Page(write_page(report(stage("load", Check(name="x", kind="passed"))), tmp_path).read_text())

    assert not any("alert(1)" in script for script in page.scripts)
    assert "errors < 5 % failed 5.00 % 100" in page.text
    assert "9.5/s 100 5 0 10 ms 20 ms 30 ms never never never" in page.text
    assert page.open == []
