"""What GitHub is told of a run: statuses, the pull request's comment and the issue of bad nights. Pure.

Names of tests, messages of failures and branches are written by contributors. On a page they stand in code,
whose fence is longer than any in them: there GitHub neither notifies anybody, nor links, nor renders HTML.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice

from kvsync.ci.archive.comparison import STATUS_CHARACTERS, RunComparison
from kvsync.ci.notify.messages import CommitState, CommitStatus, IssueChange, StickyComment
from kvsync.ci.report.plain import code_block, code_span, cut, one_line
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, Outcome, StageResult, worded

MAX_BYTES = 65_536
"""GitHub refuses a comment of more characters; bytes are never fewer."""

SHOWN = 20
"""Checks of one kind, and failures in full; the report has all of them."""

TAIL_CHARACTERS = 2000

WAITING = "waiting for /ok-to-test"

ISSUE_TITLE = "The scheduled run fails"

_STATES: dict[Outcome, CommitState] = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failure",
    Outcome.UNKNOWN: "error",
}
"""What could not be judged is an error of the pipeline, and blocks a merge as a failure does."""

_SECTIONS = (
    ("New failures", "new"),
    ("Known failures", "known"),
    ("Flaky", "flaky"),
    ("Not judged", "inconclusive"),
    ("Quarantined", "quarantined"),
    ("Fixed", "fixed"),
)


def stage_context(context: str, stage: str) -> str:
    """Return the name of a stage's status; the run's own is `context`."""
    return f"{context}/{stage}"


def stage_status(
    context: str, result: StageResult, *, link: str = "", comparison: RunComparison | None = None
) -> CommitStatus:
    """Return the status of a stage that ended: what is new where it failed, else how many ended how."""
    text = ", ".join(f"{count} {worded(kind)}" for kind, count in result.counts.items())
    return _status(
        stage_context(context, result.name),
        result.outcome,
        text,
        result.reason,
        link,
        comparison,
        result.name,
    )


def run_status(
    context: str, report: Report, *, link: str = "", comparison: RunComparison | None = None
) -> CommitStatus:
    """Return the status of the whole run."""
    return _status(context, report.verdict, report.reason, report.reason, link, comparison, None)


def pending(context: str, text: str) -> CommitStatus:
    """Return a status that waits for a result."""
    return CommitStatus(context=context, state="pending", description=text)


def skipped(context: str, why: str) -> CommitStatus:
    """Return a status of what does not have to be tested."""
    return CommitStatus(context=context, state="success", description=f"skipped: {why}")


def _status(
    context: str,
    outcome: Outcome,
    text: str,
    reason: str,
    link: str,
    comparison: RunComparison | None,
    stage: str | None,
) -> CommitStatus:
    if outcome is Outcome.UNKNOWN:
        text = f"not judged: {reason}"
    elif outcome is Outcome.FAILED and comparison and not comparison.problem:
        text = comparison.status_text(stage)
    description = cut(one_line(text), STATUS_CHARACTERS)
    return CommitStatus(context=context, state=_STATES[outcome], description=description, link=_web(link))


def report_comment(
    context: str, report: Report, comparison: RunComparison | None, link: str
) -> StickyComment:
    """Return the comment on a pull request; it replaces that of an earlier run, and never a later one's."""
    mark = f"<!-- {context} report "
    return StickyComment(
        mark=mark,
        body=_page(
            f"{mark}run={report.run} -->", f"{context}: {report.verdict.name}", report, comparison, link
        ),
        replaces=lambda earlier: _run_of(earlier) <= report.run,
    )


def waiting_comment(context: str, commit: str, moment: str) -> StickyComment:
    """Return the comment on a pull request whose commit waits for a yes.

    It stands where reports do. `moment` is the beginning of the id of a run that would begin now.
    """
    mark = f"<!-- {context} report "
    parts = [
        f"{mark}run={moment} -->",
        f"### {context}: {WAITING}",
        f"Commit {code_span(commit)} comes from a fork, and has not been run.",
        "A person with write access or in `webhook.actors` approves it, and no later one, with this comment:",
        code_block(f"/ok-to-test {commit}"),
    ]
    return StickyComment(
        mark=mark, body="\n\n".join(parts), replaces=lambda earlier: _run_of(earlier) <= moment
    )


def answer_comment(context: str, by: str, said: str, text: str) -> StickyComment:
    """Return the answer to the last command that came to nothing; there is one on a pull request."""
    mark = f"<!-- {context} answer -->"
    heard = f"{code_span(said)}, said by {code_span(by)}, started nothing:"
    return StickyComment(mark=mark, body="\n\n".join([mark, heard, code_block(text)]))


def issue_mark(context: str) -> str:
    """Return how the text of the issue begins."""
    return f"<!-- {context} schedule "


def issue_change(
    context: str, report: Report, comparison: RunComparison | None, link: str, earlier: str
) -> IssueChange | None:
    """Say what a scheduled run changes about the open issue, whose text is `earlier` ("" for none).

    The issue is about stages: one that failed stays in it until a run judged it again. So a weekly's failure
    is not over when a nightly run, which has fewer stages, passes.
    """
    before = _failing_in(earlier)
    judged = {stage.name for stage in report.stages if stage.outcome is not Outcome.UNKNOWN}
    after = {stage: print_ for stage, print_ in before.items() if stage not in judged} | _failing(report)
    if after == before or _run_of(earlier) > report.run:
        return None
    failing = ",".join(f"{stage}:{print_}" for stage, print_ in sorted(after.items()))
    mark = f"{issue_mark(context)}run={report.run} failing={failing} -->"
    news = f"<!-- {context} news run={report.run} -->"
    text = _news(report, before, after, link)
    return IssueChange(
        title=ISSUE_TITLE,
        body=_page(
            mark, f"Failing: {', '.join(sorted(after)) or 'nothing any more'}", report, comparison, link
        ),
        is_open=bool(after),
        news=StickyComment(mark=news, body=f"{news}\n{text}") if before else None,
    )


def _failing(report: Report) -> dict[str, str]:
    """Return the stages that failed, each with what stands for the set of its failures."""
    return {
        stage.name: sha256("\n".join(sorted(_names(stage))).encode()).hexdigest()[:16]
        for stage in report.stages
        if stage.outcome is Outcome.FAILED
    }


def _names(stage: StageResult) -> list[str]:
    return [check.name for check in stage.where(_failed)]


def _failed(check: Check) -> bool:
    return check.outcome is Outcome.FAILED


def _failing_in(text: str) -> dict[str, str]:
    found = re.match(r"<!-- .*? failing=(\S*) -->", text)
    return dict(part.split(":", 1) for part in found[1].split(",") if part) if found else {}


def _run_of(text: str) -> str:
    """Return the run that wrote a text; runs sort by their start."""
    found = re.match(r"<!-- .*?run=([a-z0-9-]+)", text)
    return found[1] if found else ""


def _news(report: Report, before: dict[str, str], after: dict[str, str], link: str) -> str:
    lines = {
        "fails now": after.keys() - before.keys(),
        "fails in another way": {
            name for name in after.keys() & before.keys() if after[name] != before[name]
        },
        "passes again": before.keys() - after.keys(),
        "fails as before, or was not run": {name for name in after if before.get(name) == after[name]},
    }
    told = [f"- {', '.join(sorted(stages))}: {what}" for what, stages in lines.items() if stages]
    return "\n".join([*told, "", _origin(report, link)])


def _page(mark: str, title: str, report: Report, comparison: RunComparison | None, link: str) -> str:
    """Compose a page of whole parts, as many as GitHub takes; the last ones are there in any case."""
    head = [mark, f"### {title}", code_span(report.reason), _table(report, comparison)]
    if comparison and (pushed := comparison.since_push):
        head.append(
            f"Since the push before, {code_span(pushed.before.commit[:10])}: {code_span(pushed.summary)}"
        )
    foot = [_origin(report, link), "Repeat it with:", code_block(report.command)]
    more = "There is more in the report."
    room = MAX_BYTES - sum(len(part.encode()) + 2 for part in [*head, *foot, more])
    shown = []
    for part in [*_standings(report, comparison), *_failures(report)]:
        room -= len(part.encode()) + 2
        if room < 0:
            shown.append(more)
            break
        shown.append(part)
    return "\n\n".join([*head, *shown, *foot])


def _table(report: Report, comparison: RunComparison | None) -> str:
    rows = ["| stage | outcome | checks | compared | time |", "|---|---|---|---|---|"]
    for stage in report.stages:
        counts = ", ".join(f"{count} {worded(kind)}" for kind, count in stage.counts.items())
        compared = code_span(comparison.status_text(stage.name)).replace("|", r"\|") if comparison else ""
        outcome = stage.outcome.name.lower()
        rows.append(f"| {stage.name} | {outcome} | {counts} | {compared} | {stage.duration_s:.0f} s |")
    return "\n".join(rows)


def _standings(report: Report, comparison: RunComparison | None) -> Iterator[str]:
    """Say what is new, known and flaky; each section is one part."""
    if not comparison or comparison.problem:
        return
    headlines = {
        (stage.name, check.name): check.headline
        for stage in report.stages
        for check in stage.where(lambda each: bool(each.headline))
    }
    for title, status in _SECTIONS:
        found = comparison.of(status)  # type: ignore[arg-type]  # the statuses of _SECTIONS
        lines = [
            " ".join(
                filter(
                    None,
                    [
                        f"- {each.stage}:",
                        code_span(each.check),
                        code_span(headlines.get((each.stage, each.check), "")),
                        f"({each.text(comparison.at)})" if comparison.at and each.since else "",
                    ],
                )
            )
            for each in found[:SHOWN]
        ]
        lines += [f"- and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        if found:
            yield "\n".join([f"**{title}: {len(found)}**", "", *lines])


def _failures(report: Report) -> Iterator[str]:
    bad = (check for stage in report.stages for check in stage.where(_failed))
    for check in islice(bad, SHOWN):
        yield f"<details><summary>{worded(check.kind)}</summary>\n\n{_full(check)}\n\n</details>"


def _full(check: Check) -> str:
    return f"{code_span(check.name)}\n\n{code_block(check.detail[-TAIL_CHARACTERS:])}"


def _origin(report: Report, link: str) -> str:
    page = f"[report](<{_web(link)}>)" if _web(link) else "the report is on the machine that ran it"
    return f"Run {report.run}, commit {code_span(report.commit or 'not known')}: {page}"


def _web(link: str) -> str:
    """Return a link that GitHub takes and a page can hold, else ""."""
    is_whole = re.fullmatch(r"https?://[^\s<>\"]+", link)
    return link if is_whole else ""
