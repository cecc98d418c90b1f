"""What GitHub is told: statuses within its limits, pages whose hostile parts stay code, news of issues."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from markdown_it import MarkdownIt

from kvsync.ci.archive.comparison import RunComparison, Standing
from kvsync.ci.notify.github_text import (
    MAX_BYTES,
    issue_change,
    pending,
    report_comment,
    run_status,
    stage_status,
)
from kvsync.ci.report.difference import difference
from kvsync.ci.report.plain import code_block, code_span
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, CheckKind, StageResult, merge

AT = datetime(2026, 11, 20, 3, tzinfo=UTC)
LINK = "https://reports.example/kvsync/20261120-030000-ab12/report.html"
NOTHING_NEW = RunComparison(last_green="20261119-030000-aa11", at=AT)

FAILING = RunComparison(
    at=AT,
    standings=(
        Standing(check="t::new", stage="e2e", status="new"),
        Standing(
            check="t::old",
            stage="e2e",
            status="known",
            since_run="20261108-030000-aa11",
            since_commit="c0ffee" * 6 + "c0de",
            since=AT - timedelta(days=12),
        ),
        Standing(check="t::flaky", stage="unit", status="flaky"),
    ),
)


def stage(name: str = "e2e", detail: str = "", **checks: CheckKind) -> StageResult:
    """Return a stage of checks that ended so."""
    every = [Check(name=f"t::{each}", kind=kind, detail=detail) for each, kind in checks.items()]
    return merge(name, every, started_at=AT)


def report(
    *stages: StageResult, run: str = "20261120-030000-ab12", command: str = "kvsync-ci run e2e"
) -> Report:
    """Return the report of a run of these stages."""
    return Report(
        run=run,
        started_at=AT,
        duration_s=1.0,
        command=command,
        stages=stages,
        parameters={},
        commit="d" * 40,
        versions={},
        machine={},
    )


PASSED = stage("unit", a="passed", b="passed", flaky="flaky")
FAILED = stage("e2e", detail="assert 3 == 4", new="failed", old="failed", fine="passed")
UNDECIDED = stage("chaos", detail="too few samples", a="inconclusive")


@pytest.mark.parametrize(
    ("result", "comparison", "state", "text"),
    [
        (PASSED, FAILING, "success", "2 passed, 1 flaky"),
        (FAILED, None, "failure", "1 passed, 2 failed"),
        (FAILED, FAILING, "failure", "2 failed: 1 new, 1 known (oldest 12 d)"),
        (FAILED, RunComparison.impossible("no database"), "failure", "1 passed, 2 failed"),
        (UNDECIDED, FAILING, "error", "not judged: 1 of 1 undecided: a: too few samples"),
        (
            StageResult.unknown("e2e", "not run: interrupted"),
            None,
            "error",
            "not judged: not run: interrupted",
        ),
    ],
    ids=["passed", "failed", "compared", "incomparable", "undecided", "interrupted"],
)
def test_the_status_of_a_stage(
    result: StageResult, comparison: RunComparison | None, state: str, text: str
) -> None:
    """Counts, or what is new; what was not judged is an error and never a success."""
    status = stage_status("ci", result, comparison=comparison)

    assert (status.context, status.state, status.description) == (f"ci/{result.name}", state, text)


@pytest.mark.parametrize(
    ("stages", "state", "text"),
    [
        ([PASSED], "success", "1 stage, 3 checks"),
        (
            [PASSED, FAILED, UNDECIDED],
            "failure",
            "2 failed: 1 new, 1 known (oldest 12 d); 1 flaky but passed",
        ),
        ([PASSED, UNDECIDED], "error", "not judged: chaos: 1 of 1 undecided: a: too few samples"),
        ([], "error", "not judged: no stage ran"),
    ],
    ids=["passed", "failed", "unknown", "nothing"],
)
def test_the_status_of_a_run(stages: list[StageResult], state: str, text: str) -> None:
    """The verdict of the run, under the bare name."""
    status = run_status("ci", report(*stages), comparison=FAILING)

    assert (status.context, status.state, status.description) == ("ci", state, text)


def test_a_status_is_within_the_limits_of_github() -> None:
    """A long reason is cut at 140 characters, on one line, without characters that do not show."""
    result = StageResult.unknown("e2e", "first\nsecond\x1b[31m\u202e " + "x" * 200)

    text = stage_status("ci", result).description

    assert len(text) == 140
    assert text.startswith("not judged: first second[31m xxx")
    assert text.endswith("x…")


@pytest.mark.parametrize(
    ("link", "sent"),
    [
        (LINK, LINK),
        ("file:///reports/report.html", ""),
        ("javascript:alert(1)", ""),
        ("https://a/b> [x](y", ""),
        ("", ""),
    ],
)
def test_only_a_link_that_github_takes_is_sent(link: str, sent: str) -> None:
    """Reports on disk have an address that GitHub refuses together with the status."""
    assert stage_status("ci", PASSED, link=link).link == sent
    assert (f"[report](<{link}>)" in report_comment("ci", report(PASSED), None, link).body) == bool(sent)


def test_a_pending_status() -> None:
    """Before its result a status says what is waited for."""
    assert (pending("ci/e2e", "running").state, pending("ci/e2e", "running").description) == (
        "pending",
        "running",
    )


def test_the_comment_of_a_failed_run() -> None:
    """It has the verdict, the stages, what is new, known and flaky, failures and how to repeat the run."""
    text = report_comment("ci", report(PASSED, FAILED), FAILING, LINK).body

    assert (
        text
        == f"""\
<!-- ci report run=20261120-030000-ab12 -->

### ci: FAILED

` e2e: 2 of 3 failed: new: assert 3 == 4 `

| stage | outcome | checks | compared | time |
|---|---|---|---|---|
| unit | passed | 2 passed, 1 flaky | ` 1 flaky but passed ` | 0 s |
| e2e | failed | 1 passed, 2 failed | ` 2 failed: 1 new, 1 known (oldest 12 d) ` | 0 s |

**New failures: 1**

- e2e: ` t::new ` ` assert 3 == 4 `

**Known failures: 1**

- e2e: ` t::old ` ` assert 3 == 4 ` (failing since run 20261108-030000-aa11, commit c0ffeec0ff, 12 d)

**Flaky: 1**

- unit: ` t::flaky `

<details><summary>failed</summary>

` t::new `

```text
assert 3 == 4
```

</details>

<details><summary>failed</summary>

` t::old `

```text
assert 3 == 4
```

</details>

Run 20261120-030000-ab12, commit ` {"d" * 40} `: [report](<{LINK}>)

Repeat it with:

```text
kvsync-ci run e2e
```"""
    )


HOSTILE = {
    "mention": "@octocat please look",
    "html": "<img src=x onerror=alert(1)></details><!-- ",
    "closed comment": "--> <script>alert(1)</script>",
    "link": "[click](https://evil.example) https://evil.example",
    "backticks": "a ` b `` c ``` d",
    "fence": "\n```\n@octocat\n```\n",
    "paragraph": "a\n\n# heading @octocat",
    "cell": "a | b | c",
    "separators": "a\u2028b\u0085c\r\rd\x00\x1b[31m\u202e",
    "only backticks": "````",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_code(text: str) -> None:
    """Whatever tests, messages, branches and commands say: outside of code a page has only our words."""
    result = merge("e2e", [Check(name=f"t::{text}", kind="failed", detail=text)], started_at=AT)
    comparison = RunComparison(at=AT, standings=(Standing(check=f"t::{text}", stage="e2e", status="new"),))

    body = report_comment("ci", report(result, command=f"run {text}"), comparison, LINK).body

    assert outside_code(body) == outside_code(
        report_comment(
            "ci",
            report(merge("e2e", [Check(name="t::x", kind="failed", detail="x")], started_at=AT)),
            RunComparison(at=AT, standings=(Standing(check="t::x", stage="e2e", status="new"),)),
            LINK,
        ).body
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_in_its_cell(text: str) -> None:
    """Why nothing could be compared stands in a table, whose rows keep their cells."""
    problem, harmless = (
        report_comment("ci", report(PASSED), RunComparison.impossible(why), LINK).body for why in (text, "x")
    )

    assert outside_code(problem) == outside_code(harmless)


def outside_code(markdown: str) -> list[tuple[str, str]]:
    """Return what a page consists of by the rules of Markdown, without the content of its code."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [
        (part.type, "" if part.type in ("code_inline", "fence") else part.content)
        for block in blocks
        for part in (block.children or [block])
    ]


def test_a_comment_fits_into_what_github_takes() -> None:
    """Of many and long failures it has whole parts, says that there is more, and how to repeat the run."""
    every = [Check(name=f"t::{n}", kind="failed", detail="✗" * 3000) for n in range(100)]
    standings = tuple(Standing(check=each.name, stage="e2e", status="new") for each in every)

    body = report_comment(
        "ci", report(merge("e2e", every, started_at=AT)), RunComparison(at=AT, standings=standings), ""
    ).body

    assert len(body.encode()) <= MAX_BYTES
    assert body.count("<details>") == body.count("</details>") >= 5
    assert "- and 80 more" in body
    assert "There is more in the report." in body
    assert body.endswith("```text\nkvsync-ci run e2e\n```")


def test_a_comment_replaces_that_of_an_earlier_run_only() -> None:
    """A run that was superseded and ends late does not overwrite what its successor found."""
    earlier, later = (
        report_comment("ci", report(PASSED, run=run), None, "")
        for run in ("20261120-030000-ab12", "20261120-040000-ab12")
    )

    assert later.replaces(earlier.body)
    assert later.replaces(later.body)
    assert not earlier.replaces(later.body)


@pytest.mark.parametrize(
    ("text", "code"),
    [("a", "` a `"), ("", ""), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\n b", "` a b `")],
)
def test_a_span_of_code(text: str, code: str) -> None:
    """Its fence is longer than any in it, and it is one line."""
    assert code_span(text) == code


def test_a_block_of_code_has_a_longer_fence() -> None:
    """Backticks within do not end it, tabs are spaces and what does not show is gone."""
    assert code_block("a\n````\n\tb\x1b") == "`````text\na\n````\n        b\n`````"


def change(*stages: StageResult, earlier: str = "", run: str = "20261121-030000-ab12") -> str | None:
    """Say what a scheduled run makes of the issue: open or closed, which stages fail, and the news."""
    made = issue_change("ci", report(*stages, run=run), None, "", earlier)
    if not made:
        return None
    failing = re.findall(r"(\w+):\w+", made.body.splitlines()[0])
    return f"{'open' if made.is_open else 'closed'} {failing}"


def issue(*stages: StageResult, run: str = "20261120-030000-ab12") -> str:
    """Return the text of the issue after a scheduled run of these stages."""
    made = issue_change("ci", report(*stages, run=run), None, "", "")
    assert made
    return made.body


CHAOS_FAILED = stage("chaos", a="failed")
OTHERWISE = stage("e2e", fine="failed")
E2E_PASSED = stage("e2e", new="passed", old="passed", fine="passed")

CHANGES: Mapping[str, tuple[str | None, str | None]] = {
    "nothing fails": (change(PASSED), None),
    "not judged, none open": (change(UNDECIDED), None),
    "fails": (change(PASSED, FAILED), "open ['e2e']"),
    "fails as before": (change(FAILED, earlier=issue(FAILED)), None),
    "fails otherwise": (change(OTHERWISE, earlier=issue(FAILED)), "open ['e2e']"),
    "another stage too": (change(FAILED, CHAOS_FAILED, earlier=issue(FAILED)), "open ['chaos', 'e2e']"),
    "passes again": (change(E2E_PASSED, earlier=issue(FAILED)), "closed []"),
    "not judged": (change(stage("e2e", new="inconclusive"), earlier=issue(FAILED)), None),
    "not run": (change(PASSED, earlier=issue(CHAOS_FAILED)), None),
    "one of two": (change(E2E_PASSED, earlier=issue(FAILED, CHAOS_FAILED)), "open ['chaos']"),
    "late": (change(E2E_PASSED, earlier=issue(FAILED), run="20261119-030000-ab12"), None),
    "text by hand": (change(E2E_PASSED, earlier="<!-- ci schedule edited"), None),
}


@pytest.mark.parametrize(("made", "wanted"), CHANGES.values(), ids=CHANGES)
def test_when_an_issue_changes(made: str | None, wanted: str | None) -> None:
    """A stage that failed is in the issue until a later run judged it again and it passed."""
    assert made == wanted


def test_the_news_of_an_issue() -> None:
    """Readers of the issue are told which stages changed, and are not told of its beginning."""
    made = issue_change(
        "ci",
        report(OTHERWISE, PASSED, stage("property", a="failed"), run="20261121-030000-ab12"),
        None,
        LINK,
        issue(FAILED, stage("unit", a="failed"), CHAOS_FAILED),
    )

    assert made
    assert made.news
    assert (
        made.news.body
        == f"""\
<!-- ci news run=20261121-030000-ab12 -->
- property: fails now
- e2e: fails in another way
- unit: passes again
- chaos: fails as before, or was not run

Run 20261121-030000-ab12, commit ` {"d" * 40} `: [report](<{LINK}>)"""
    )
    opened = issue_change("ci", report(FAILED), None, LINK, "")
    assert opened
    assert opened.news is None


def test_a_pull_request_is_told_what_its_push_changed() -> None:
    """In one line, with the commit of the push before, which is a stranger's word."""
    before = replace(report(stage(a="failed")), commit="`@x`")
    pushed = difference(before, report(stage(a="passed")))

    body = report_comment("ci", report(PASSED), RunComparison(at=AT, since_push=pushed), LINK).body

    assert f"Since the push before, {code_span('`@x`')}: {code_span('1 fixed')}" in body
