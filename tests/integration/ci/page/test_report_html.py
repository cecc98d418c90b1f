"""The report page: complete, without any outside resource, and safe with hostile text."""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest

from kvsync.ci.archive.comparison import CheckStatus, RunComparison, Standing
from kvsync.ci.archive.records import PastRun, PastStage, RunScope
from kvsync.ci.archive.trends import Trends
from kvsync.ci.page.evidence import Evidence, FaultWindow, PodEvent, RequestPoint, ServedRecord
from kvsync.ci.page.page import render, write_page
from kvsync.ci.report.report import Report
from kvsync.testing.results.measurement import Measurement, Measurements
from kvsync.testing.results.outcome import Attempt, Check, CheckKind, Outcome, StageResult, merge

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOSTILE = "$\\frac$ <script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} \x00\x1b[31m"
VOID_TAGS = {"meta", "input", "br", "img", "path", "use", "circle", "line", "rect"}


class Page(HTMLParser):
    """Reads a page: its tags, their attributes, its text, and whether everything is closed."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self._text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Note a tag that has no content."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Close a tag, which must be the one opened last."""
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text, of which scripts and the style sheet are none."""
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self._text.append(data)

    @property
    def text(self) -> str:
        """Return all text, with single spaces."""
        return " ".join(" ".join(self._text).split())

    @property
    def packed(self) -> list[list[str]]:
        """Return the rows of all packed tables: kind, name, time and text of each test."""
        *tables, _ = self.scripts
        return [row for table in tables for row in json.loads(zlib.decompress(base64.b64decode(table)))]

    def values(self, attribute: str) -> list[str]:
        """Return the values of an attribute, wherever it occurs."""
        return [value for name, value in self.attributes if name == attribute]


def stage(name: str, *checks: Check, log: str | None = None) -> StageResult:
    """Return a stage with these checks."""
    return merge(name, checks, started_at=NOON, duration_s=61.0, log=log)


def report(*stages: StageResult, **facts: object) -> Report:
    """Return a report on these stages."""
    fields: dict[str, object] = {
        "run": "run-1",
        "started_at": NOON,
        "duration_s": 75.0,
        "command": "kvsync-ci run unit --seed 7",
        "parameters": {"seed": 7, "profile": "quick"},
        "commit": "0123456789abcdef",
        "versions": {"pytest": "9.2"},
        "machine": {"cpus": "2"},
        **facts,
    }
    return Report(stages=stages, **fields)  # type: ignore[arg-type]  # facts of a report


def changed(text: str) -> RunComparison:
    """Return a comparison with a check of every status, each named `text` and its status."""
    standings = [
        Standing(
            check=f"t.py::{text} {status}",
            stage=text,
            status=status,
            since_run=text if status == "known" else "",
            since_commit=text if status == "known" else "",
            since=NOON - timedelta(days=12) if status == "known" else None,
        )
        for status in get_args(CheckStatus)
    ]
    return RunComparison(last_green=text, last_green_commit=text, standings=standings, at=NOON)


def trends(text: str) -> Trends:
    """Return the trends of three runs, the second of which failed."""
    scope = RunScope(repository=text, profile="quick", cluster="local")
    runs = [
        PastRun(
            run=f"{text} {number}",
            started_at=NOON + timedelta(days=number),
            duration_s=61.0,
            scope=scope,
            commit=text,
            branch=text,
            pull_request=None,
            trigger="manual",
            dirty=False,
            verdict=Outcome.FAILED if number == 1 else Outcome.PASSED,
            reason=text,
            stages=[
                PastStage(
                    name=text,
                    outcome=Outcome.PASSED,
                    duration_s=60.0 + number,
                    counts={"passed": 3, "failed": int(number == 1), "skipped": 5},
                )
            ],
        )
        for number in range(3)
    ]
    measured = [(run.started_at, 2.0) for run in runs]
    return Trends(runs=runs, eta_s={text: 62.0, "e2e": 130.0}, benchmarks={text: measured})


@cache
def everything(text: str) -> str:
    """Render a page that has every section, with `text` wherever text from outside appears."""
    checks = [
        Check(name=f"tests/x.py::test_{text}", kind="failed", detail=f"E   {text}", log_tail=text),
        Check(name="flaky", kind="flaky", attempts=(Attempt(kind="failed", detail=text),)),
        Check(name="skipped", kind="skipped", detail=text, properties={text: text}),
    ]
    evidence = Evidence(
        faults=[
            FaultWindow(
                test=text,
                kind=text,
                pods=(text,),
                details=text,
                start=1.0,
                stop=3.0,
                proof=text,
                stop_proof=text,
            )
        ],
        requests={text: [RequestPoint(at=at / 10, latency_s=0.1, ok=at != 7) for at in range(50)]},
        pods=[PodEvent(at=2.0, pod=text, event=text)],
        clock_s=NOON.timestamp(),
    )
    records: list[dict[str, object]] = [
        {"f": "oracle", "type": "fail", "violations": [text], "pods": 1, "blocks": 2, "test": text},
        {"f": "oracle", "type": "ok", "violations": [], "pods": 1, "blocks": 2, "test": text},
        {"f": "replay", "requests": 9, "agreeing": 7, "explained": {text: 2}, "test": text},
    ]
    compared = Evidence.from_records(records)
    measured = Measurement(
        name=text, metric=text, value=2.0, unit=text, samples=5, goal=1.0, parameters={text: text}
    )
    return render(
        report(
            stage(text, *checks, log=text),
            run=text,
            command=text,
            commit=text,
            parameters={text: text},
            versions={text: text},
            machine={text: text},
        ),
        Evidence(
            faults=evidence.faults,
            requests=evidence.requests,
            comparisons=compared.comparisons,
            agreements=compared.agreements,
            pods=evidence.pods,
            clock_s=evidence.clock_s,
        ),
        [measured],
        comparison=changed(text),
        trends=trends(text),
    )


def test_page_refers_to_nothing_outside() -> None:
    """The page has no frame, no image, style or script from elsewhere, and forbids all but its own script."""
    source = everything("plain")
    page = Page(source)

    assert not {"link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert page.values("src") == []
    assert all(href.startswith("#") or href == "plain" for href in page.values("href"))
    assert not [each for each in ("http:", "https:", "@import", "javascript:") if each in source]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy in page.values("content")


def test_page_is_well_formed() -> None:
    """Every tag is closed where it should be, and no id occurs twice."""
    page = Page(everything("plain"))

    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value for value in page.values("href") if value.startswith("#")} <= {f"#{each}" for each in ids}


def test_hostile_text_is_only_text() -> None:
    """Names, messages and output with markup, template or formula syntax are shown as they are."""
    plain, hostile = Page(everything("plain")), Page(everything(HOSTILE))

    assert hostile.scripts[-1] == plain.scripts[-1]
    assert hostile.tags.count("script") == plain.tags.count("script")
    assert sorted(set(hostile.tags)) == sorted(set(plain.tags))
    assert {name for name, _ in hostile.attributes} == {name for name, _ in plain.attributes}
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7 * 7 }}" in hostile.text


def test_verdict_comes_first() -> None:
    """Outcome, reason, and what failed with its output precede everything else."""
    failed = Check(
        name="tests/e2e/test_scale.py::test_scale[3 pods]",
        kind="failed",
        detail="x = 1\nE   AssertionError: three is not four",
        log_tail="the last words",
        duration_s=1.25,
    )
    void = Check(name="tests/chaos/test_cut.py::test_cut", kind="void", detail="nothing was cut")
    page = Page(render(report(stage("e2e", failed), stage("chaos", void)), Evidence(), []))

    head, _, body = page.text.partition("Repeat this run")
    assert head.startswith(
        "FAILED · @0123456789 · run-1 ✗ FAILED e2e: 1 of 1 failed: test_scale[3 pods]: AssertionError"
    )
    order = [
        "What did not pass",
        "failed AssertionError: three is not four",
        "the last words",
        "void nothing was cut",
        "Stages",
        "All tests",
        "kvsync-ci run unit --seed 7",
    ]
    positions = [body.find(each) for each in order]
    assert -1 not in positions
    assert positions == sorted(positions)


def test_a_run_is_repeated_by_a_command_and_not_by_python() -> None:
    """All parameters are in a file of the run."""
    made = report(stage("unit"), parameters={"trace": None, "stages": ["unit"], "settings": {"a": 1}})
    page = Page(render(made, Evidence(), []))

    _, _, said = page.text.rpartition("Repeat this run")
    assert said.strip().startswith("kvsync-ci run unit --seed 7")
    assert not any(each in said for each in ("None", "['", "{'"))
    assert "all of them are in parameters.json" in said


@pytest.mark.parametrize(
    ("kinds", "title"),
    [(("passed",), "✓ PASSED"), (("void",), "? UNKNOWN"), ((), "? UNKNOWN")],
    ids=["passed", "unknown", "nothing ran"],
)
def test_verdict_of_small_reports(kinds: Sequence[CheckKind], title: str) -> None:
    """A report with little in it is a page too, without empty sections."""
    checks = [Check(name="t.py::test_a", kind=kind) for kind in kinds]
    stages = [stage("unit", *checks)] if kinds else []

    text = Page(render(report(*stages), Evidence(), [])).text

    assert title in text
    assert "Faults" not in text
    assert "Measurements" not in text


def test_what_is_perfect_leaves_room_for_the_rest() -> None:
    """No errors at all are better than any goal without an end, which no axis has."""
    errors = Measurement(name="load", metric="errors", value=0.0, unit="%", samples=100, goal=5.0)
    read = Measurement(name="load", metric="p95", value=2e-05, unit="s", samples=100, goal=0.0001)

    text = Page(render(report(), Evidence(), [errors, read])).text

    assert "0 % of 5 %" in text
    assert "20 µs of 100 µs" in text
    assert "100 x times better" in text
    assert "e+" not in text


def evidence_of_faults() -> Evidence:
    """Return a fault that went well, a slow one and one that never ended, and two comparisons."""
    fault = FaultWindow(
        test="tests/chaos/test_cut.py::test_cut",
        kind="partition",
        pods=("qwen-1",),
        details="depth 2",
        start=10.0,
        stop=18.5,
        proof="12 of 12 refused",
        stop_proof="12 of 12 accepted",
        recovery_s=2.25,
        recovered=True,
        served=ServedRecord(
            ok=True,
            requests=1200,
            availability=0.995,
            error_increase=0.005,
            p95_s=0.21,
            baseline_p95_s=0.1,
            p95_excuse="too few",
        ),
    )
    slow = replace(
        fault,
        test="slow",
        served=ServedRecord(
            ok=False,
            requests=300,
            availability=1.0,
            error_increase=0.0,
            p95_s=0.7,
            baseline_p95_s=0.1,
            broken=("p95 was 700 ms, above 500 ms",),
        ),
    )
    open_fault = FaultWindow(test="t", kind="pod-kill", pods=(), details="", start=1.0)
    compared = Evidence.from_records(
        [
            {
                "f": "oracle",
                "type": "fail",
                "violations": ["lost 00ff"],
                "pods": 4,
                "blocks": 1412,
                "test": "t",
            },
            {"f": "replay", "requests": 1000, "agreeing": 962, "explained": {"evicted": 31}, "test": "t"},
        ]
    )
    return Evidence(
        faults=[fault, slow, open_fault],
        requests={fault.test: [RequestPoint(at=9.0 + n, latency_s=0.05, ok=n != 3) for n in range(12)]},
        comparisons=compared.comparisons,
        agreements=compared.agreements,
    )


def test_evidence_is_shown() -> None:
    """Faults with proof and recovery, comparisons, agreement, measurements and latencies are in the page."""
    measured = Measurement(name="routing", metric="p99", value=0.42, unit="ms", samples=5000, goal=5.0)

    page = Page(
        render(report(stage("chaos", Check(name="a", kind="passed"))), evidence_of_faults(), [measured])
    )

    for expected in (
        "partition of qwen-1 depth 2 test_cut 12 of 12 refused 12 of 12 accepted ✓ 99.50 % of 1,200",
        "of 1,200, errors +0.50 points p95 210 ms, before 100 ms ? p95 not judged too few 8.5 s ✓ 2.2 s",
        "✗ 100.00 % of 300, errors +0.00 points p95 700 ms, before 100 ms ✗ p95 was 700 ms, above 500 ms",
        "pod-kill t ? not proved ✗ never ended ? not judged not known ? not measured",
        "t ✗ different 4 1,412 lost 00ff",
        "t 1,000 962 (96.2 %) 31 evicted 7",
        "test_cut 12 requests, 1 failed",
        "routing p99 0.42 ms ≤ 5 ms ✓ yes 5,000",
    ):
        assert expected in page.text
    assert page.tags.count("svg") == 3


def test_charts_stay_small_and_take_the_colours_of_the_page() -> None:
    """Very many requests are thinned out, and no chart has a colour of its own."""
    requests = [RequestPoint(at=n / 100, latency_s=0.05 + n % 50 / 1000, ok=True) for n in range(50_000)]

    source = render(report(), Evidence(requests={"t": requests}), [])

    assert len(source) < 500_000
    chart = source[source.index("<svg") :]
    assert "var(--accent)" in chart
    assert "#0a00" not in chart


def test_page_of_a_run(tmp_path: Path) -> None:
    """The page is made from the folder of a run: histories, measurements, and text that is not UTF-8."""
    (tmp_path / "history").mkdir()
    records = [
        {"f": "request", "type": "ok", "t_mono": 1.0, "latency_s": 0.1, "test": "tests/a.py::test_load"},
        {"f": "request", "type": "ok", "t_mono": 2.0, "latency_s": 3.1, "test": "tests/a.py::test_load"},
    ]
    lines = "\n".join(map(json.dumps, records))
    (tmp_path / "history" / "e2e.jsonl").write_text(lines + '\n{"f": "torn')
    (tmp_path / "history" / "e2e-tests.jsonl").write_text('{"event": "collected", "count": 1}\n')
    Measurements(tmp_path / "benchmark.json").add(
        Measurement(name="index", metric="p50", value=12_345.6, unit="1/s", samples=9, better="higher")
    )
    results = [stage("unit", Check(name="surrogate \ud800", kind="passed"), log="logs/unit.log")]

    path = write_page(report(*results), tmp_path)

    page = Page(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "report.html"
    assert "test_load 2 requests, 0 failed" in page.text
    assert "index p50 12,346 1/s" in page.text
    assert "logs/unit.log" in page.values("href")


def test_stages_of_one_name_and_of_hours() -> None:
    """The time line takes equal names and long runs."""
    stages = [
        merge("soak", [Check(name="a", kind="passed")], started_at=NOON + timedelta(hours=n), duration_s=3600)
        for n in range(30)
    ]

    page = Page(render(report(*stages), Evidence(), []))

    assert page.text.count("1 h, passed") == 30


def test_evidence_is_linked_beside_the_failure() -> None:
    """Each file of evidence is a link of its own, relative to the report."""
    files = "evidence/a/gateway.log\nevidence/a/pods.txt"
    check = Check(name="test_x", kind="failed", detail="E  no", properties={"evidence": files})
    text = render(report(stage("e2e", check)), Evidence(), [])

    for name in ("gateway.log", "pods.txt"):
        assert f'<a href="evidence/a/{name}">{name}</a>' in text
    assert "</a> · <a" in text


def test_a_stage_in_doubt_is_among_what_did_not_pass() -> None:
    """Although each of its checks passed: a file that was cut off, a program that failed all the same."""
    cut = stage("unit", Check(name="t.py::test_a", kind="passed")).doubted("junit.xml: <cut> off")
    page = Page(render(report(cut), Evidence(), []))

    assert "What did not pass stage unit junit.xml: <cut> off Stages" in page.text
    assert "#problems" in page.values("href")


def test_checks_of_one_cause_keep_their_own_numbers() -> None:
    """The headline is that of the first; another with other numbers says its own."""
    total = Check(name="total", kind="failed", detail="33 %, at least 80 % are asked for")
    lines = Check(name="changed lines", kind="failed", detail="50 %, at least 90 % are asked for")

    text = Page(render(report(stage("unit", total, lines)), Evidence(), [])).text

    assert "unit: total 0 s" in text
    assert "unit: changed lines: 50 %, at least 90 % are asked for 0 s" in text
