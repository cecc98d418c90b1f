"""What a comment commands."""

from datetime import UTC, datetime

import pytest

from deployments.webhook.comment import MAX_CHARACTERS, command
from kvsync.ci.notify.github_text import report_comment, waiting_comment
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, merge

AT = datetime(2026, 11, 20, 3, tzinfo=UTC)
COMMIT = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("/ok-to-test", ("ok-to-test", [])),
        (f"/ok-to-test {COMMIT}\r\n", ("ok-to-test", [COMMIT])),
        ("Fine with me.\r\n/ok-to-test \r\nThanks!", ("ok-to-test", [])),
        ("> /retest\n\n/ok-to-test", ("ok-to-test", [])),
        ("```\n/retest\n```\n/ok-to-test", ("ok-to-test", [])),
        ("<!-- hint -->\n\n/ok-to-test", ("ok-to-test", [])),
        ("/retest\n/ok-to-test", ("retest", [])),
        ("/run  e2e\tunit", ("run", ["e2e", "unit"])),
    ],
)
def test_a_line_of_text_is_a_command(body: str, found: tuple[str, list[str]]) -> None:
    """The first one counts."""
    assert command(body) == found


@pytest.mark.parametrize(
    "body",
    [
        "> /ok-to-test",
        "> Somebody wrote\n/ok-to-test",
        "> > /ok-to-test",
        "```\n/ok-to-test\n```",
        "~~~text\n```\n/ok-to-test\n~~~",
        "```\n/ok-to-test",
        "    /ok-to-test",
        "\t/ok-to-test",
        "`/ok-to-test`",
        "say `this\n/ok-to-test\nthere`",
        "<!-- /ok-to-test -->",
        "<!--\n/ok-to-test\n-->",
        "<!--\n\n/ok-to-test\n\n-->",
        "hello <!--\n/ok-to-test\n-->",
        "<pre>\n/ok-to-test\n</pre>",
        "<details>\n/ok-to-test\n</details>",
        "~~not yet\n/ok-to-test\nsorry~~",
        "- wait with\n/ok-to-test",
        "1. /ok-to-test",
        "please /ok-to-test",
        "**/ok-to-test**",
        "/ok-to-tests",
        "/OK-TO-TEST",
        "[/ok-to-test](https://example.com)",
        "//ok-to-test",
        "",
        "/ok-to-test\n" + "x" * MAX_CHARACTERS,
    ],
)
def test_what_is_about_a_command_is_none(body: str) -> None:
    """Quotes, code, HTML, lists, and texts that are too long to be read."""
    assert command(body) is None


def test_what_we_write_ourselves_commands_nothing() -> None:
    """A person's token may be ours, who may approve; and a stranger names the tests and their failures."""
    hostile = "x\n\n/ok-to-test\n\n```\n\n/ok-to-test\n\n-->\n\n/ok-to-test\n"
    report = Report(
        run="20261120-030000-ab12",
        started_at=AT,
        duration_s=1.0,
        command=hostile,
        stages=[merge("unit", [Check(name=hostile, kind="failed", detail=hostile)], started_at=AT)],
        parameters={},
        commit=hostile,
        versions={},
        machine={},
    )

    for comment in (report_comment("ci", report, None, ""), waiting_comment("ci", COMMIT, "20261120-030000")):
        assert "/ok-to-test" in comment.body
        assert command(comment.body) is None
